#pragma once
// Reads a GGUF file. Every count, offset and length in it is a stranger's: each is checked before it is used, and nothing
// is reserved that the bytes still in the file could not fill.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "gguf/metadata.h"
#include "tensor/dtype.h"

namespace kvtape::gguf {

struct TensorInfo {
  std::string name;
  std::vector<std::uint64_t> dims;   // 1 to 4, dims[0] is the length of a row
  std::uint32_t type = 0;            // the file's number; may be one that this version cannot read
  std::uint64_t offset = 0;          // of its first byte, from the start of the file
  std::span<const std::byte> bytes;  // empty for a type that this version cannot read

  [[nodiscard]] tensor::DType dtype() const;            // throws unsupported
  [[nodiscard]] std::uint64_t n_rows() const noexcept;  // product of dims[1..]
};

// What a file says, as views of its bytes.
struct Contents {
  std::uint32_t version = 0;
  std::uint64_t alignment = kDefaultAlignment;
  Metadata metadata;
  std::vector<TensorInfo> tensors;  // in the order of the file
};

// Throws corrupt_file where the bytes break the format, unsupported where they are of another version or byte order.
Contents parse(std::span<const std::byte> file);

class GgufFile {
 public:
  explicit GgufFile(const std::string& path);  // throws as MappedFile and parse do; the message begins with the path

  [[nodiscard]] std::uint32_t version() const noexcept { return contents_.version; }
  [[nodiscard]] const Metadata& metadata() const noexcept { return contents_.metadata; }
  [[nodiscard]] std::span<const TensorInfo> tensors() const noexcept { return contents_.tensors; }
  [[nodiscard]] const TensorInfo* find(std::string_view name) const noexcept;
  [[nodiscard]] const TensorInfo& require(std::string_view name) const;  // throws corrupt_file

  // To be called when the weights have been repacked. The views stay valid.
  void drop_pages() const noexcept { file_.drop_pages(); }

 private:
  base::MappedFile file_;
  Contents contents_;
  std::vector<std::uint32_t> by_name_;  // indices of tensors, ordered by name
};

}  // namespace kvtape::gguf
