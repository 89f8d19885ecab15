#include "ops/packing.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/numerics.h"
#include "ops/row_units.h"

namespace kvtape::ops {
namespace {

using base::Error;
using base::ErrorCode;
using kernels::kTileRows;
using tensor::DType;

constexpr std::size_t kTilesPerTask = 8;

// One row of n_blocks blocks into lane `lane` of its tile.
void pack_row(DType dtype, const std::byte* row, std::size_t n_blocks, std::size_t lane, std::byte* tile) {
  const RowUnits shape = row_units(dtype);
  std::byte units[kMaxUnitBytes];
  for (std::size_t b = 0; b < n_blocks; ++b) {
    regroup(dtype, row + b * tensor::info(dtype).block_bytes, units);
    std::byte* to = tile + b * kTileRows * shape.n_bytes();
    shape.for_each(
        [&](auto size, std::size_t at) { std::memcpy(to + kTileRows * at + size * lane, units + at, size); });
  }
}

}  // namespace

PackedWeights pack(Lease& lease, base::Arena& arena, DType dtype, std::size_t n_rows, std::size_t n_cols,
                   std::span<const std::byte> rows) {
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
  const std::size_t tile_bytes = n_blocks * row_units(dtype).n_bytes() * kTileRows;
  packed.n_bytes_ = n_tiles * tile_bytes;
  const std::shared_ptr<std::byte> memory = arena.allocate(packed.n_bytes_);  // zeroed: rows past n_rows stay so
  packed.data_ = memory;
  std::byte* data = memory.get();
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
  const std::size_t block_len = tensor::info(w.dtype()).block_len, n_blocks = w.n_cols() / block_len;
  const RowUnits shape = row_units(w.dtype());
  const std::byte* from = w.view().data + row / kTileRows * n_blocks * shape.n_bytes() * kTileRows;
  std::byte units[kMaxUnitBytes];
  for (std::size_t b = 0; b < n_blocks; ++b, from += kTileRows * shape.n_bytes()) {
    shape.for_each([&](auto size, std::size_t at) {
      std::memcpy(units + at, from + kTileRows * at + size * (row % kTileRows), size);
    });
    dequantize(w.dtype(), units, out.data() + b * block_len);
  }
}

}  // namespace kvtape::ops
