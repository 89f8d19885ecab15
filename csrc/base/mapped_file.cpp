#include "base/mapped_file.h"

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

constexpr std::size_t kMaxShownPath = 400;

[[noreturn]] void refuse(const std::string& path, const char* step, int error) {
  throw Error(error == ENOENT || error == ENOTDIR ? ErrorCode::not_found : ErrorCode::io,
              std::string("cannot ") + step + " " + quoted(path, kMaxShownPath) + ": " +
                  std::generic_category().message(error));
}

struct Descriptor {
  int fd;
  ~Descriptor() { close(fd); }
};

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  if (path.find('\0') != std::string::npos) refuse(path, "open", EINVAL);
  // O_NONBLOCK: a named pipe must not make us wait for its writer.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) refuse(path, "open", errno);
  struct stat status{};
  if (fstat(file.fd, &status) != 0) refuse(path, "examine", errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::io, "cannot map " + quoted(path, kMaxShownPath) + ": it is no regular file");
  }
  if (status.st_size == 0) return;  // an empty map is an error to the system, not to us
  const auto size = static_cast<std::size_t>(status.st_size);
  void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (map == MAP_FAILED) refuse(path, "map", errno);
  data_ = static_cast<const std::byte*>(map);
  size_ = size;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::drop_pages() const noexcept {
  if (data_ != nullptr) (void)madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);  // a hint
}

}  // namespace kvtape::base
