#pragma once
// Weights in the layout of kernels/linear/matmul.h, made from the rows of a model file.

#include <cstddef>
#include <memory>
#include <span>

#include "base/arena.h"
#include "base/thread_pool.h"
#include "kernels/linear/matmul.h"
#include "tensor/dtype.h"

namespace kvtape::ops {

using Lease = base::ThreadPool::Lease;

class PackedWeights {
 public:
  PackedWeights() = default;

  [[nodiscard]] tensor::DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] std::size_t n_rows() const noexcept { return n_rows_; }  // output dimension
  [[nodiscard]] std::size_t n_cols() const noexcept { return n_cols_; }  // input dimension
  [[nodiscard]] std::size_t n_bytes() const noexcept { return n_bytes_; }
  [[nodiscard]] kernels::PackedMatrix view() const noexcept { return {data_.get(), n_rows_, n_cols_}; }

  // Whether the kernels for this type take int8 activations or float ones (F32, F16, BF16).
  [[nodiscard]] bool quantized() const noexcept { return tensor::info(dtype_).block_len > 1; }

 private:
  friend PackedWeights pack(Lease&, base::Arena&, tensor::DType, std::size_t, std::size_t, std::span<const std::byte>);
  tensor::DType dtype_ = tensor::DType::f32;
  std::size_t n_rows_ = 0, n_cols_ = 0, n_bytes_ = 0;
  std::shared_ptr<const std::byte> data_;  // of the arena
};

// rows: [n_rows, n_cols] as a model file holds them (tensor/quant_blocks.h), any alignment. Packs in parallel, into
// memory of the arena, so that the matrices of a model lie side by side on huge pages.
// Throws invalid_argument where a size is 0, n_cols is no multiple of the block length, or rows has another length.
PackedWeights pack(Lease& lease, base::Arena& arena, tensor::DType dtype, std::size_t n_rows, std::size_t n_cols,
                   std::span<const std::byte> rows);

// out[c] = w[row, c] in float32, as tensor/quant_blocks.h says: a product is rounded, then a sum. out: [n_cols]
// Throws invalid_argument where row >= n_rows or out has another length.
void dequantize_row(const PackedWeights& w, std::size_t row, std::span<float> out);

}  // namespace kvtape::ops
