#pragma once
// y = x W^T for packed weights. Rows of the activations are quantised once and shared by all matrices that read them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/linear/quantize_rows.h"
#include "kernels/table.h"
#include "ops/packing.h"

namespace kvtape::ops {

// What quantised weights meet: nothing (there are none), int8, or int8 and what it leaves in int8 again, where the error
// of 8 bits would tell (the output head). Two terms cost two rows a token, and one pass over the weights.
enum class Int8Form : std::uint8_t { none, once, twice };

// Float rows (not owned) and their int8 form (owned). Allocates only where it must grow.
class ActivationBuffer {
 public:
  // Takes x: [n_tokens, dim] with rows x_stride floats apart, which must stay until the last matmul has read it.
  // form: of the int8 rows, dim is then a multiple of 32.
  // fill_rows(begin, n), where given, writes rows [begin, begin + n) of x first: a norm or an activation shares the
  // parallel section and the cache lines of the quantising.
  template <class FillRows>
  void set(Lease& lease, const kernels::KernelTable& kernel, const float* x, std::size_t x_stride, std::size_t n_tokens,
           std::size_t dim, Int8Form form, FillRows&& fill_rows) {
    take(x, x_stride, n_tokens, dim, form);
    lease.parallel_for((n_tokens + kTokensPerTask - 1) / kTokensPerTask, [&](std::size_t task, std::size_t) {
      const std::size_t begin = task * kTokensPerTask, n = std::min(kTokensPerTask, n_tokens - begin);
      fill_rows(begin, n);
      if (form != Int8Form::none) quantize_rows(kernel, begin, n);
    });
  }
  void set(Lease& lease, const kernels::KernelTable& kernel, const float* x, std::size_t x_stride, std::size_t n_tokens,
           std::size_t dim, Int8Form form) {
    set(lease, kernel, x, x_stride, n_tokens, dim, form, [](std::size_t, std::size_t) {});
  }

  [[nodiscard]] const float* x() const noexcept { return x_; }
  [[nodiscard]] std::size_t x_stride() const noexcept { return x_stride_; }
  [[nodiscard]] std::size_t n_tokens() const noexcept { return n_tokens_; }
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }
  [[nodiscard]] Int8Form form() const noexcept { return form_; }
  // q: [n_tokens, dim]; d, s, sum: [n_tokens, dim / 32]; half: [n_tokens, dim / 16]; and as many rows again of second terms where there are two
  [[nodiscard]] const kernels::QuantizedRows& rows() const noexcept { return rows_; }

 private:
  static constexpr std::size_t kTokensPerTask = 8;

  void take(const float* x, std::size_t x_stride, std::size_t n_tokens, std::size_t dim, Int8Form form);
  void quantize_rows(const kernels::KernelTable& kernel, std::size_t begin, std::size_t n);

  const float* x_ = nullptr;
  std::size_t x_stride_ = 0, n_tokens_ = 0, dim_ = 0;
  Int8Form form_ = Int8Form::none;
  base::AlignedBuffer<std::int8_t> q_;
  base::AlignedBuffer<float> d_, s_;
  base::AlignedBuffer<float> rest_;  // [n_tokens, dim] what the first term leaves, where there are two
  base::AlignedBuffer<std::int32_t> sum_;
  base::AlignedBuffer<std::int16_t> half_;
  kernels::QuantizedRows rows_{};
};

struct MatmulJob {
  const PackedWeights* w;
  const ActivationBuffer* x;  // has an int8 form where w is quantised, dim() = w->n_cols()
  float* y;                   // [x->n_tokens(), w->n_rows()], rows y_stride floats apart; twice the rows for two terms
  std::size_t y_stride;
  float* add_to = nullptr;                  // laid out as y: where given, y is added to it as well (a residual stream)
  const float* bias = nullptr;              // [w->n_rows()], where given: added to each row of y, before add_to gets it
  std::span<const std::size_t> tiles = {};  // of kTileRows rows of w: where given, y has their columns and no others
};

// Runs the jobs in one parallel section (q, k, v; gate, up). Bits depend on nothing but weights and activations.
// Throws invalid_argument where w and x do not fit each other, or rows of y would overlap.
void matmul_many(Lease& lease, const kernels::KernelTable& kernel, std::span<const MatmulJob> jobs);

// Lets threads that wait fetch the first weights of their shares of the next section, matmul_many over these matrices. To
// be said before the section before it. Where the matrices do not lie side by side, some is fetched in vain.
void fetch_soon(Lease& lease, std::initializer_list<const PackedWeights*> weights);

void matmul(Lease& lease, const kernels::KernelTable& kernel, const PackedWeights& w, const ActivationBuffer& x,
            float* y, std::size_t y_stride);

}  // namespace kvtape::ops
