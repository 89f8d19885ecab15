#pragma once
// Memory that processes of one user share under a name: a file of /dev/shm, as shm_open makes it, mode 0600. It gets its name
// when it is ready, so nobody finds it half made, and a process that dies before leaves nothing behind.

#include <cstddef>
#include <span>
#include <string>

namespace kvtape::base {

class SharedMemory {
 public:
  // New memory without a name: n_bytes zeros, with a page behind each, so that writing there cannot fail later. Throws io
  // where there is no room.
  explicit SharedMemory(std::size_t n_bytes);

  // The memory of that name. Throws not_found; io where it is no regular file of this user or the system refuses.
  explicit SharedMemory(const std::string& name);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();  // unmaps; the name stays

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

  // False where the name is taken.
  [[nodiscard]] bool try_publish(const std::string& name) const;

  // Takes the name away, if it is still this memory's. Who has it mapped keeps it.
  void remove_name(const std::string& name) const;

 private:
  SharedMemory() noexcept = default;
  void map(std::size_t n_bytes);

  int fd_ = -1;
  std::span<std::byte> bytes_;
};

}  // namespace kvtape::base
