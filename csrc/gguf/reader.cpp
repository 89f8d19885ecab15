#include "gguf/reader.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "gguf/cursor.h"

namespace kvtape::gguf {
namespace {

using base::quoted;

[[noreturn]] void throw_unsupported(const std::string& message) {
  throw base::Error(base::ErrorCode::unsupported, "gguf: " + message);
}

std::uint32_t read_version(Cursor& cursor) {
  const auto magic = cursor.take(kMagic.size(), "the magic number");
  const std::string_view found(reinterpret_cast<const char*>(magic.data()), magic.size());
  if (found != kMagic) throw_corrupt("the file begins with " + quoted(found) + ", wanted " + quoted(kMagic));
  const auto version = cursor.number<std::uint32_t>("the version");
  if (version != 0 && (version & 0xFFFF) == 0) throw_unsupported("the file is big-endian, wanted little-endian");
  if (version < kMinVersion || version > kMaxVersion) {
    throw_unsupported("version " + std::to_string(version) + ", supported: 2, 3");
  }
  return version;
}

Metadata read_metadata(Cursor& cursor, std::uint64_t n_keys) {
  std::vector<Metadata::Entry> entries;
  entries.reserve(static_cast<std::size_t>(n_keys));
  for (std::uint64_t i = 0; i < n_keys; ++i) {
    const auto key = cursor.name("a key");
    entries.push_back({key, read_value(cursor, key)});
  }
  return Metadata(std::move(entries));
}

std::uint64_t read_alignment(const Metadata& metadata) {
  const auto alignment = metadata.find<std::uint32_t>(kAlignmentKey).value_or(kDefaultAlignment);
  if (!std::has_single_bit(alignment)) {
    throw_corrupt("key " + quoted(kAlignmentKey) + " is " + std::to_string(alignment) + ", wanted a power of two");
  }
  return alignment;
}

// Nothing where the product does not fit 64 bits.
std::optional<std::uint64_t> product(std::span<const std::uint64_t> factors) noexcept {
  std::uint64_t result = 1;
  for (const auto factor : factors) {
    if (__builtin_mul_overflow(result, factor, &result)) return std::nullopt;
  }
  return result;
}

// All but `bytes`, which need the start of the data.
TensorInfo read_tensor(Cursor& cursor) {
  TensorInfo tensor;
  tensor.name = cursor.name("the name of a tensor");
  const auto where = [&] { return "tensor " + quoted(tensor.name); };
  const auto n_dims = cursor.number<std::uint32_t>("the number of dimensions of a tensor");
  if (n_dims < 1 || n_dims > kMaxDims) {
    throw_corrupt(where() + " has " + std::to_string(n_dims) + " dimensions, wanted 1 to " + std::to_string(kMaxDims));
  }
  tensor.dims.resize(n_dims);
  for (auto& dim : tensor.dims) {
    dim = cursor.number<std::uint64_t>("a dimension of a tensor");
    if (dim == 0) throw_corrupt(where() + " has a dimension of 0");
  }
  if (!product(tensor.dims)) throw_corrupt(where() + " has more elements than fit 64 bits");
  tensor.type = cursor.number<std::uint32_t>("the type of a tensor");
  tensor.offset = cursor.number<std::uint64_t>("the offset of a tensor");
  return tensor;
}

// Turns the offset into one from the start of the file, and finds the bytes.
void place(TensorInfo& tensor, std::span<const std::byte> file, std::uint64_t data_start, std::uint64_t alignment) {
  const auto where = [&] { return "tensor " + quoted(tensor.name); };
  const auto refuse_end = [&](const std::string& end) {
    throw_corrupt(where() + " ends at byte " + end + ", file has " + std::to_string(file.size()));
  };
  if (tensor.offset % alignment != 0) {
    throw_corrupt(where() + " has offset " + std::to_string(tensor.offset) + ", wanted a multiple of " +
                  std::to_string(alignment));
  }
  if (tensor.offset > file.size() || data_start > file.size() - tensor.offset) {
    throw_corrupt(where() + " has offset " + std::to_string(tensor.offset) + ", the data has " +
                  std::to_string(file.size() - std::min<std::uint64_t>(data_start, file.size())) + " bytes");
  }
  tensor.offset += data_start;

  const auto layout = tensor::dtype_info(tensor.type);
  if (!layout) return;  // dtype() says so to whoever wants this tensor
  if (tensor.dims[0] % layout->block_len != 0) {
    throw_corrupt(where() + " has rows of " + std::to_string(tensor.dims[0]) + " elements, " +
                  std::string(layout->name) + " wants a multiple of " + std::to_string(layout->block_len));
  }
  const std::uint64_t n_blocks = *product(tensor.dims) / layout->block_len;
  std::uint64_t n_bytes = 0, end = 0;
  if (__builtin_mul_overflow(n_blocks, std::uint64_t{layout->block_bytes}, &n_bytes) ||
      __builtin_add_overflow(tensor.offset, n_bytes, &end)) {
    refuse_end("2^64 or later");
  }
  if (end > file.size()) refuse_end(std::to_string(end));
  tensor.bytes = file.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(n_bytes));
}

std::vector<std::uint32_t> sorted_by_name(std::span<const TensorInfo> tensors) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return tensors[a].name < tensors[b].name; });
  return order;
}

// Without this, a small file could name the same bytes a million times and make a loader repack them as often.
void check_disjoint(std::span<const TensorInfo> tensors) {
  std::vector<const TensorInfo*> order;
  order.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    if (!tensor.bytes.empty()) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::uint64_t end = order[i - 1]->offset + order[i - 1]->bytes.size();
    if (end > order[i]->offset) {
      throw_corrupt("tensor " + quoted(order[i - 1]->name) + " ends at byte " + std::to_string(end) +
                    ", inside tensor " + quoted(order[i]->name) + ", which begins at " +
                    std::to_string(order[i]->offset));
    }
  }
}

}  // namespace

tensor::DType TensorInfo::dtype() const {
  if (!tensor::dtype_info(type)) {
    const auto known = tensor_type_name(type);
    throw_unsupported("tensor " + quoted(name) + " has type " +
                      (known.empty() ? std::to_string(type) : std::string(known)) +
                      ", supported: " + std::string(tensor::kSupportedDTypes));
  }
  return static_cast<tensor::DType>(type);
}

std::uint64_t TensorInfo::n_rows() const noexcept { return *product(std::span(dims).subspan(1)); }

Contents parse(std::span<const std::byte> file) {
  Cursor cursor(file);
  Contents contents;
  contents.version = read_version(cursor);
  const auto n_tensors = cursor.count(kMinTensorBytes, "the number of tensors");
  const auto n_keys = cursor.count(kMinPairBytes, "the number of keys");
  contents.metadata = read_metadata(cursor, n_keys);
  contents.alignment = read_alignment(contents.metadata);
  if (n_tensors > cursor.n_left() / kMinTensorBytes) {
    throw_corrupt("the file names " + std::to_string(n_tensors) + " tensors, the " + std::to_string(cursor.n_left()) +
                  " bytes after its keys hold at most " + std::to_string(cursor.n_left() / kMinTensorBytes));
  }
  contents.tensors.reserve(static_cast<std::size_t>(n_tensors));
  for (std::uint64_t i = 0; i < n_tensors; ++i) contents.tensors.push_back(read_tensor(cursor));

  const std::uint64_t mask = contents.alignment - 1;  // a file has far fewer bytes than would make this sum overflow
  const std::uint64_t data_start = (cursor.position() + mask) & ~mask;
  for (auto& tensor : contents.tensors) place(tensor, file, data_start, contents.alignment);
  check_disjoint(contents.tensors);
  const auto order = sorted_by_name(contents.tensors);
  for (std::size_t i = 1; i < order.size(); ++i) {
    const auto& name = contents.tensors[order[i]].name;
    if (name == contents.tensors[order[i - 1]].name) throw_corrupt("tensor " + quoted(name) + " comes twice");
  }
  return contents;
}

GgufFile::GgufFile(const std::string& path) : file_(path) {
  try {
    contents_ = parse(file_.bytes());
  } catch (const base::Error& error) {
    throw base::Error(error.code(), quoted(path, 400) + ": " + error.what());
  }
  by_name_ = sorted_by_name(contents_.tensors);
}

const TensorInfo* GgufFile::find(std::string_view name) const noexcept {
  const auto it =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](std::uint32_t i, std::string_view wanted) { return contents_.tensors[i].name < wanted; });
  if (it == by_name_.end() || contents_.tensors[*it].name != name) return nullptr;
  return &contents_.tensors[*it];
}

const TensorInfo& GgufFile::require(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) throw_corrupt("tensor " + quoted(name) + " is missing");
  return *tensor;
}

}  // namespace kvtape::gguf
