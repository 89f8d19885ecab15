#include "base/shared_memory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "check.h"

namespace {

using kvtape::base::Error;
using kvtape::base::ErrorCode;
using kvtape::base::SharedMemory;

const std::string kName = "kvtape-test-memory." + std::to_string(getpid());
const std::string kPath = "/dev/shm/" + kName;

template <class F>
bool refused(ErrorCode code, F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.code() == code;
  }
  return false;
}

bool exists() { return access(kPath.c_str(), F_OK) == 0; }

void has_a_name_when_ready() {
  SharedMemory memory(10'000);
  CHECK(memory.bytes().size() == 10'000);
  for (const std::byte byte : memory.bytes()) CHECK(byte == std::byte{0});
  CHECK(!exists());
  CHECK(memory.try_publish(kName));
  CHECK(!SharedMemory(100).try_publish(kName));

  struct stat status{};
  CHECK(stat(kPath.c_str(), &status) == 0 && (status.st_mode & 0777) == 0600);
  SharedMemory other(kName);
  CHECK(other.bytes().size() == 10'000 && other.bytes().data() != memory.bytes().data());
  memory.bytes()[9'999] = std::byte{7};
  CHECK(other.bytes()[9'999] == std::byte{7});

  memory = SharedMemory(50);  // unmapped; the name stays, and is not the new one's
  memory.remove_name(kName);
  CHECK(exists());
  other.remove_name(kName);
  CHECK(!exists());
  CHECK(other.bytes()[9'999] == std::byte{7});
}

void refuses_what_it_cannot_use() {
  CHECK(refused(ErrorCode::not_found, [] { SharedMemory memory(kName); }));
  for (const std::string& name :
       {std::string(), std::string("a/b"), std::string(".."), std::string("a\0b", 3), std::string(256, 'a')}) {
    CHECK(refused(ErrorCode::invalid_argument, [&] { SharedMemory memory(name); }));
    CHECK(refused(ErrorCode::invalid_argument, [&] { (void)SharedMemory(1).try_publish(name); }));
  }
  CHECK(symlink("/etc/passwd", kPath.c_str()) == 0);
  CHECK(refused(ErrorCode::io, [] { SharedMemory memory(kName); }));
  unlink(kPath.c_str());
  CHECK(mkfifo(kPath.c_str(), 0600) == 0);
  CHECK(refused(ErrorCode::io, [] { SharedMemory memory(kName); }));
  unlink(kPath.c_str());
  close(open(kPath.c_str(), O_CREAT | O_RDWR, 0600));
  CHECK(SharedMemory(kName).bytes().empty());
  unlink(kPath.c_str());
}

void no_room_is_an_error() {
  struct statvfs status{};
  CHECK(statvfs("/dev/shm", &status) == 0);
  const std::uint64_t n_bytes = std::uint64_t{status.f_blocks} * status.f_frsize;
  if (n_bytes == 0) return;  // a /dev/shm without a limit
  CHECK(refused(ErrorCode::io, [&] { SharedMemory memory(n_bytes + 4096); }));
}

void a_process_that_dies_leaves_nothing_half_made() {
  const pid_t child = fork();
  if (child == 0) {
    SharedMemory memory(1 << 16);
    _exit(0);
  }
  CHECK(waitpid(child, nullptr, 0) == child);
  CHECK(!exists());
}

}  // namespace

int main() {
  has_a_name_when_ready();
  refuses_what_it_cannot_use();
  no_room_is_an_error();
  a_process_that_dies_leaves_nothing_half_made();
  return kvtape::test::failures();
}
