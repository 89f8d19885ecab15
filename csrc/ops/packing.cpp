#include "ops/packing.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/numerics.h"
#include "tensor/half.h"
#include "tensor/quant_blocks.h"

namespace kvtape::ops {
namespace {

using base::Error;
using base::ErrorCode;
using kernels::kTileRows;
using tensor::DType;

constexpr std::size_t kTilesPerTask = 8;

// Bytes of one packed block of a tile (a column, for float types): 16 blocks of the file, regrouped.
std::size_t packed_block_bytes(DType dtype) { return kTileRows * tensor::info(dtype).block_bytes; }

// The 32 (Q8_0) or 16 (Q4) value bytes of a block are written 4 at a time, rows side by side; then scale, then minimum.
// Both layouts hold the file's bytes, so packing and unpacking are the same walk with another copy.
struct BlockShape {
  std::size_t n_halves;     // f16 words in front of the values: d, or d and m
  std::size_t value_bytes;  // what follows them
};

BlockShape block_shape(DType dtype) {
  switch (dtype) {
    case DType::q8_0: return {1, sizeof(tensor::BlockQ8_0::q)};
    case DType::q4_0: return {1, sizeof(tensor::BlockQ4_0::nibbles)};
    case DType::q4_1: return {2, sizeof(tensor::BlockQ4_1::nibbles)};
    default: return {0, tensor::info(dtype).block_bytes};
  }
}

// Copies one block of a file's row to lane `lane` of a packed block.
void pack_block(const BlockShape& shape, const std::byte* from, std::size_t lane, std::byte* to) {
  const std::byte* values = from + 2 * shape.n_halves;
  for (std::size_t i = 0; i < shape.value_bytes; i += 4) std::memcpy(to + i * kTileRows + 4 * lane, values + i, 4);
  std::byte* halves = to + shape.value_bytes * kTileRows;
  for (std::size_t i = 0; i < shape.n_halves; ++i) std::memcpy(halves + 2 * (i * kTileRows + lane), from + 2 * i, 2);
}

// The way back.
void unpack_block(const BlockShape& shape, const std::byte* from, std::size_t lane, std::byte* to) {
  std::byte* values = to + 2 * shape.n_halves;
  for (std::size_t i = 0; i < shape.value_bytes; i += 4) std::memcpy(values + i, from + i * kTileRows + 4 * lane, 4);
  const std::byte* halves = from + shape.value_bytes * kTileRows;
  for (std::size_t i = 0; i < shape.n_halves; ++i) std::memcpy(to + 2 * i, halves + 2 * (i * kTileRows + lane), 2);
}

// One row of n_blocks blocks into lane `lane` of its tile; element_bytes is the size of a float element, else 0.
void pack_row(DType dtype, const std::byte* row, std::size_t n_blocks, std::size_t lane, std::byte* tile) {
  const std::size_t file_bytes = tensor::info(dtype).block_bytes;
  const std::size_t packed_bytes = packed_block_bytes(dtype);
  if (tensor::info(dtype).block_len == 1) {
    for (std::size_t c = 0; c < n_blocks; ++c) {
      std::memcpy(tile + c * packed_bytes + lane * file_bytes, row + c * file_bytes, file_bytes);
    }
    return;
  }
  const BlockShape shape = block_shape(dtype);
  for (std::size_t b = 0; b < n_blocks; ++b) pack_block(shape, row + b * file_bytes, lane, tile + b * packed_bytes);
}

void dequantize_block(DType dtype, const std::byte* block, float* out) {
  if (dtype == DType::q8_0) {
    tensor::BlockQ8_0 q8;
    std::memcpy(&q8, block, sizeof q8);
    const float d = tensor::f16_to_f32(q8.d);
    for (std::size_t i = 0; i < tensor::kQuantBlockLen; ++i) out[i] = d * static_cast<float>(q8.q[i]);
    return;
  }
  std::uint16_t d_bits, m_bits = 0;
  std::memcpy(&d_bits, block, sizeof d_bits);
  if (dtype == DType::q4_1) std::memcpy(&m_bits, block + 2, sizeof m_bits);
  const float d = tensor::f16_to_f32(d_bits), m = tensor::f16_to_f32(m_bits);
  const std::byte* nibbles = block + (dtype == DType::q4_1 ? 4 : 2);
  const int zero = dtype == DType::q4_1 ? 0 : 8;
  for (std::size_t i = 0; i < tensor::kQuantBlockLen; ++i) {
    const int byte = static_cast<int>(nibbles[i % 16]);
    const int n = (i < 16 ? byte & 15 : byte >> 4) - zero;
    out[i] = dtype == DType::q4_1 ? d * static_cast<float>(n) + m : d * static_cast<float>(n);
  }
}

float widen(DType dtype, const std::byte* element) {
  if (dtype == DType::f32) {
    float value;
    std::memcpy(&value, element, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, element, sizeof bits);
  return dtype == DType::f16 ? tensor::f16_to_f32(bits) : tensor::bf16_to_f32(bits);
}

}  // namespace

PackedWeights pack(Lease& lease, DType dtype, std::size_t n_rows, std::size_t n_cols, std::span<const std::byte> rows) {
  const tensor::DTypeInfo type = tensor::info(dtype);
  const std::string what =
      "pack: " + std::string(type.name) + " [" + std::to_string(n_rows) + ", " + std::to_string(n_cols) + "]";
  if (n_rows == 0 || n_cols == 0 || n_cols % type.block_len != 0) {
    throw Error(ErrorCode::invalid_argument,
                what + ", wanted n_rows above 0 and n_cols a multiple of " + std::to_string(type.block_len));
  }
  const std::size_t n_blocks = n_cols / type.block_len;
  std::size_t row_bytes = 0, n_bytes = 0;
  if (__builtin_mul_overflow(n_blocks, type.block_bytes, &row_bytes) ||
      __builtin_mul_overflow(n_rows, row_bytes, &n_bytes)) {
    throw Error(ErrorCode::invalid_argument, what + " is more than 2^64 bytes");
  }
  if (n_bytes != rows.size()) {
    throw Error(ErrorCode::invalid_argument,
                what + ": rows has " + std::to_string(rows.size()) + " bytes, wanted " + std::to_string(n_bytes));
  }
  PackedWeights packed;
  packed.dtype_ = dtype;
  packed.n_rows_ = n_rows;
  packed.n_cols_ = n_cols;
  const std::size_t n_tiles = (n_rows + kTileRows - 1) / kTileRows;
  const std::size_t tile_bytes = row_bytes * kTileRows;
  packed.data_ = base::AlignedBuffer<std::byte>(n_tiles * tile_bytes);  // zeroed: rows past n_rows stay so
  std::byte* data = packed.data_.data();
  lease.parallel_for((n_tiles + kTilesPerTask - 1) / kTilesPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t end = std::min(n_rows, (task + 1) * kTilesPerTask * kTileRows);
    for (std::size_t r = task * kTilesPerTask * kTileRows; r < end; ++r) {
      pack_row(dtype, rows.data() + r * row_bytes, n_blocks, r % kTileRows, data + r / kTileRows * tile_bytes);
    }
  });
  return packed;
}

void dequantize_row(const PackedWeights& w, std::size_t row, std::span<float> out) {
  if (row >= w.n_rows()) {
    throw Error(ErrorCode::invalid_argument,
                "row: " + std::to_string(row) + ", the weights have " + std::to_string(w.n_rows()) + " rows");
  }
  if (out.size() != w.n_cols()) {
    throw Error(ErrorCode::invalid_argument,
                "out: length " + std::to_string(out.size()) + ", wanted " + std::to_string(w.n_cols()));
  }
  const tensor::DTypeInfo type = tensor::info(w.dtype());
  const std::size_t n_blocks = w.n_cols() / type.block_len;
  const std::size_t packed_bytes = packed_block_bytes(w.dtype());
  const std::byte* tile = w.view().data + row / kTileRows * n_blocks * packed_bytes;
  const std::size_t lane = row % kTileRows;
  if (!w.quantized()) {
    for (std::size_t c = 0; c < n_blocks; ++c)
      out[c] = widen(w.dtype(), tile + c * packed_bytes + lane * type.block_bytes);
    return;
  }
  const BlockShape shape = block_shape(w.dtype());
  std::byte block[sizeof(tensor::BlockQ8_0)];  // the largest of the block types
  for (std::size_t b = 0; b < n_blocks; ++b) {
    unpack_block(shape, tile + b * packed_bytes, lane, block);
    dequantize_block(w.dtype(), block, out.data() + b * type.block_len);
  }
}

}  // namespace kvtape::ops
