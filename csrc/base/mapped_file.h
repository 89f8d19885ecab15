#pragma once
// A file mapped read-only. The bytes stay valid, at the same address, as long as the object lives; nothing is copied.

#include <cstddef>
#include <span>
#include <string>

namespace kvtape::base {

class MappedFile {
 public:
  // Throws not_found where there is no such file, io where it is no regular file or the system refuses.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  // Gives the pages back to the system; bytes() still works and reads them from the file again.
  void drop_pages() const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kvtape::base
