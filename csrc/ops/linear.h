#pragma once
// y = x W^T for packed weights. Rows of the activations are quantised once and shared by all matrices that read them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/linear/quantize_rows.h"
#include "kernels/table.h"
#include "ops/packing.h"

namespace kvtape::ops {

// Float rows (not owned) and their int8 form (owned). Sized once by reserve; set allocates only where it must grow.
class ActivationBuffer {
 public:
  // Room for int8 forms of up to n_tokens * dim elements.
  void reserve(std::size_t n_tokens, std::size_t dim);

  // Takes x: [n_tokens, dim] with rows x_stride floats apart, which must stay until the last matmul has read it.
  // quantize: also make the int8 form, which quantised weights need; dim is then a multiple of 32.
  // fill_rows(begin, n), where given, writes rows [begin, begin + n) of x first: a norm or an activation shares the
  // parallel section and the cache lines of the quantising.
  template <class FillRows>
  void set(Lease& lease, const kernels::KernelTable& kernel, const float* x, std::size_t x_stride, std::size_t n_tokens,
           std::size_t dim, bool quantize, FillRows&& fill_rows) {
    take(x, x_stride, n_tokens, dim, quantize);
    lease.parallel_for((n_tokens + kTokensPerTask - 1) / kTokensPerTask, [&](std::size_t task, std::size_t) {
      const std::size_t begin = task * kTokensPerTask, n = std::min(kTokensPerTask, n_tokens - begin);
      fill_rows(begin, n);
      if (quantize) quantize_rows(kernel, begin, n);
    });
  }
  void set(Lease& lease, const kernels::KernelTable& kernel, const float* x, std::size_t x_stride, std::size_t n_tokens,
           std::size_t dim, bool quantize) {
    set(lease, kernel, x, x_stride, n_tokens, dim, quantize, [](std::size_t, std::size_t) {});
  }

  [[nodiscard]] const float* x() const noexcept { return x_; }
  [[nodiscard]] std::size_t x_stride() const noexcept { return x_stride_; }
  [[nodiscard]] std::size_t n_tokens() const noexcept { return n_tokens_; }
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }
  [[nodiscard]] bool quantized() const noexcept { return quantized_; }
  // q: [n_tokens, dim]; d, s, sum: [n_tokens, dim / 32]; only where quantized()
  [[nodiscard]] const kernels::QuantizedRows& rows() const noexcept { return rows_; }

 private:
  static constexpr std::size_t kTokensPerTask = 8;

  void take(const float* x, std::size_t x_stride, std::size_t n_tokens, std::size_t dim, bool quantize);
  void quantize_rows(const kernels::KernelTable& kernel, std::size_t begin, std::size_t n) const;

  const float* x_ = nullptr;
  std::size_t x_stride_ = 0, n_tokens_ = 0, dim_ = 0;
  bool quantized_ = false;
  base::AlignedBuffer<std::int8_t> q_;
  base::AlignedBuffer<float> d_, s_;
  base::AlignedBuffer<std::int32_t> sum_;
  kernels::QuantizedRows rows_{};
};

struct MatmulJob {
  const PackedWeights* w;
  const ActivationBuffer* x;  // quantized() where w is, dim() = w->n_cols()
  float* y;                   // [x->n_tokens(), w->n_rows()], rows y_stride floats apart
  std::size_t y_stride;
  float* add_to = nullptr;  // laid out as y: where given, y is added to it as well (a residual stream)
};

// Runs the jobs in one parallel section (q, k, v; gate, up). Bits depend on nothing but weights and activations.
// Throws invalid_argument where w and x do not fit each other, or rows of y would overlap.
void matmul_many(Lease& lease, const kernels::KernelTable& kernel, std::span<const MatmulJob> jobs);

void matmul(Lease& lease, const kernels::KernelTable& kernel, const PackedWeights& w, const ActivationBuffer& x,
            float* y, std::size_t y_stride);

}  // namespace kvtape::ops
