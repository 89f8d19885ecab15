#include "base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"

namespace kvtape::base {
namespace {

constexpr const char* kFolder = "/dev/shm";

[[noreturn]] void refuse(const std::string& what, int error) {
  throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
              "shared memory: cannot " + what + ": " + std::generic_category().message(error));
}

std::string path_of(const std::string& name) {
  constexpr std::size_t kMaxName = 255;
  if (name.empty() || name.size() > kMaxName || name[0] == '.' || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos) {
    throw Error(ErrorCode::invalid_argument,
                "shared memory: a name is 1 to 255 bytes without '/' and does not begin with '.', found " +
                    quoted(name, kMaxName));
  }
  return std::string(kFolder) + "/" + name;
}

}  // namespace

SharedMemory::SharedMemory(std::size_t n_bytes) : SharedMemory() {
  fd_ = open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ < 0) refuse(std::string("make a file in ") + kFolder, errno);
  int error = 0;
  do {  // a signal undoes it
    error = posix_fallocate(fd_, 0, static_cast<off_t>(n_bytes));
  } while (error == EINTR);
  if (error != 0) refuse("reserve " + std::to_string(n_bytes) + " bytes in " + kFolder, error);
  map(n_bytes);
}

SharedMemory::SharedMemory(const std::string& name) : SharedMemory() {
  const std::string path = path_of(name);
  // O_NONBLOCK: a named pipe must not make us wait for its writer.
  fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd_ < 0) refuse("open " + path, errno);
  struct stat status{};
  if (fstat(fd_, &status) != 0) refuse("examine " + path, errno);
  if (!S_ISREG(status.st_mode) || status.st_uid != geteuid()) {
    throw Error(ErrorCode::io, "shared memory: " + path + " is no regular file of this user");
  }
  if (status.st_size > 0)
    map(static_cast<std::size_t>(status.st_size));  // an empty map is an error to the system, not to us
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), bytes_(std::exchange(other.bytes_, {})) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  SharedMemory taken(std::move(other));
  std::swap(fd_, taken.fd_);
  std::swap(bytes_, taken.bytes_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
  if (fd_ >= 0) close(fd_);
}

void SharedMemory::map(std::size_t n_bytes) {
  void* memory = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (memory == MAP_FAILED) refuse("map " + std::to_string(n_bytes) + " bytes", errno);
  bytes_ = {static_cast<std::byte*>(memory), n_bytes};
}

bool SharedMemory::try_publish(const std::string& name) const {
  const std::string path = path_of(name);
  const std::string self = "/proc/self/fd/" + std::to_string(fd_);
  if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
  if (errno != EEXIST) refuse("give the name " + path, errno);
  return false;
}

void SharedMemory::remove_name(const std::string& name) const {
  const std::string path = path_of(name);
  struct stat named{}, own{};
  if (lstat(path.c_str(), &named) == 0 && fstat(fd_, &own) == 0 && named.st_ino == own.st_ino &&
      named.st_dev == own.st_dev) {
    unlink(path.c_str());
  }
}

}  // namespace kvtape::base
