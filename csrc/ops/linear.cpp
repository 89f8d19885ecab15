#include "ops/linear.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "kernels/numerics.h"

namespace kvtape::ops {
namespace {

using base::Error;
using base::ErrorCode;
using kernels::kBlockLen;
using kernels::kTileRows;
using tensor::DType;

// Tiles are dealt in equal shares over the jobs together. A thread's tasks lie side by side, so it reads one stream, and
// there are several for others to take from its end.
constexpr std::size_t kTasksPerThread = 8;
constexpr std::size_t kMaxTilesPerTask = 32;

// Of a thread's next share, fetched while it waits: in 10 us, a long wait, one core reads 256 KiB. A quarter of its L2.
constexpr std::size_t kFetchBytes = std::size_t{256} << 10;

bool two_terms(const MatmulJob& job) { return job.w->quantized() && job.x->form() == Int8Form::twice; }

std::size_t n_y_rows(const MatmulJob& job) { return job.x->n_tokens() * (two_terms(job) ? 2 : 1); }

void check(const MatmulJob& job) {
  const auto shape = [&] {
    return "[" + std::to_string(job.w->n_rows()) + ", " + std::to_string(job.w->n_cols()) + "]";
  };
  if (job.x->dim() != job.w->n_cols()) {
    throw Error(ErrorCode::invalid_argument,
                "x: " + std::to_string(job.x->dim()) + " columns, wanted those of w: " + shape());
  }
  if (job.w->quantized() && job.x->form() == Int8Form::none) {
    throw Error(ErrorCode::invalid_argument,
                "x: has no int8 form, which w of type " + std::string(tensor::info(job.w->dtype()).name) + " needs");
  }
  if (n_y_rows(job) > 1 && job.y_stride < job.w->n_rows()) {
    throw Error(ErrorCode::invalid_argument,
                "y_stride: " + std::to_string(job.y_stride) + ", wanted at least the rows of w: " + shape());
  }
  for (const std::size_t tile : job.tiles) {
    if (tile * kTileRows >= job.w->n_rows()) {
      throw Error(ErrorCode::invalid_argument, "tiles: " + std::to_string(tile) + " is not one of w: " + shape());
    }
  }
}

// to += from for columns [begin, end) of n_rows rows, while they are in the cache.
void add_columns(const float* from, float* to, std::size_t stride, std::size_t n_rows, std::size_t begin,
                 std::size_t end) {
  for (std::size_t t = 0; t < n_rows; ++t, from += stride, to += stride) {
    for (std::size_t r = begin; r < end; ++r) to[r] += from[r];
  }
}

void add_bias(const MatmulJob& job, std::size_t begin, std::size_t end) {
  for (std::size_t t = 0; t < job.x->n_tokens(); ++t) {
    float* y = job.y + t * job.y_stride;
    for (std::size_t r = begin; r < end; ++r) y[r] += job.bias[r];
  }
}

void run_rows(const kernels::KernelTable& kernel, const MatmulJob& job, std::size_t row_begin, std::size_t row_end) {
  const kernels::MatmulRange range{row_begin, row_end, n_y_rows(job), job.y, job.y_stride};
  const auto quantized = [&](kernels::MatmulQuantized* matmul) { matmul(job.w->view(), job.x->rows(), range); };
  const auto floats = [&](kernels::MatmulFloat* matmul) {
    matmul(job.w->view(), job.x->x(), job.x->x_stride(), range);
  };
  switch (job.w->dtype()) {
    case DType::q8_0: return quantized(kernel.matmul_q8_0);
    case DType::q4_0: return quantized(kernel.matmul_q4_0);
    case DType::q4_1: return quantized(kernel.matmul_q4_1);
    case DType::q5_0: return quantized(kernel.matmul_q5_0);
    case DType::q5_1: return quantized(kernel.matmul_q5_1);
    case DType::q4_k: return quantized(kernel.matmul_q4_k);
    case DType::q5_k: return quantized(kernel.matmul_q5_k);
    case DType::q6_k: return quantized(kernel.matmul_q6_k);
    case DType::f32: return floats(kernel.matmul_f32);
    case DType::f16: return floats(kernel.matmul_f16);
    case DType::bf16: return floats(kernel.matmul_bf16);
  }
}

// Tiles [begin, end) of one job, and what is added to them.
void run_tiles(const kernels::KernelTable& kernel, const MatmulJob& job, std::size_t begin, std::size_t end) {
  const std::size_t row_begin = begin * kTileRows, row_end = std::min(job.w->n_rows(), end * kTileRows);
  run_rows(kernel, job, row_begin, row_end);
  const std::size_t n_tokens = job.x->n_tokens();
  if (two_terms(job)) add_columns(job.y + n_tokens * job.y_stride, job.y, job.y_stride, n_tokens, row_begin, row_end);
  if (job.bias != nullptr) add_bias(job, row_begin, row_end);
  if (job.add_to != nullptr) add_columns(job.y, job.add_to, job.y_stride, n_tokens, row_begin, row_end);
}

std::size_t n_tiles(const PackedWeights& w) { return (w.n_rows() + kTileRows - 1) / kTileRows; }
std::size_t n_tiles(const MatmulJob& job) { return job.tiles.empty() ? n_tiles(*job.w) : job.tiles.size(); }

// The same of tiles [begin, end) of its list, where a job has one.
void run_share(const kernels::KernelTable& kernel, const MatmulJob& job, std::size_t begin, std::size_t end) {
  if (job.tiles.empty()) return run_tiles(kernel, job, begin, end);
  for (const std::size_t tile : job.tiles.subspan(begin, end - begin)) run_tiles(kernel, job, tile, tile + 1);
}

}  // namespace

void ActivationBuffer::take(const float* x, std::size_t x_stride, std::size_t n_tokens, std::size_t dim,
                            Int8Form form) {
  if (n_tokens > 1 && x_stride < dim) {
    throw Error(ErrorCode::invalid_argument,
                "x_stride: " + std::to_string(x_stride) + ", wanted at least " + std::to_string(dim));
  }
  if (form != Int8Form::none && dim % kBlockLen != 0) {
    throw Error(ErrorCode::invalid_argument,
                "x: " + std::to_string(dim) + " columns, wanted a multiple of " + std::to_string(kBlockLen));
  }
  x_ = x;
  x_stride_ = x_stride;
  n_tokens_ = n_tokens;
  dim_ = dim;
  form_ = form;
  if (form == Int8Form::none) return;
  const std::size_t n = n_tokens * dim * (form == Int8Form::twice ? 2 : 1);
  q_.reserve_discard(n);
  d_.reserve_discard(n / kBlockLen);
  s_.reserve_discard(n / kBlockLen);
  sum_.reserve_discard(n / kBlockLen);
  half_.reserve_discard(n / 16);
  if (form == Int8Form::twice) rest_.reserve_discard(n_tokens * dim);
  rows_ = {q_.data(), d_.data(), s_.data(), sum_.data(), half_.data()};
}

void ActivationBuffer::quantize_rows(const kernels::KernelTable& kernel, std::size_t begin, std::size_t n) {
  const std::size_t n_blocks = dim_ / kBlockLen;
  const kernels::QuantizedRows first = kernels::rows_from(rows_, begin, dim_);
  const float* x = x_ + begin * x_stride_;
  kernel.quantize_rows(x, x_stride_, n, dim_, first);
  if (form_ != Int8Form::twice) return;
  float* rest = rest_.data() + begin * dim_;
  for (std::size_t t = 0; t < n; ++t) {
    for (std::size_t c = 0; c < dim_; ++c) {
      rest[t * dim_ + c] =
          x[t * x_stride_ + c] - first.d[t * n_blocks + c / kBlockLen] * static_cast<float>(first.q[t * dim_ + c]);
    }
  }
  kernel.quantize_rows(rest, dim_, n, dim_, kernels::rows_from(rows_, n_tokens_ + begin, dim_));
}

void matmul_many(Lease& lease, const kernels::KernelTable& kernel, std::span<const MatmulJob> jobs) {
  std::size_t all_tiles = 0;
  for (const MatmulJob& job : jobs) {
    check(job);
    all_tiles += n_tiles(job);
  }
  const std::size_t n_tasks =
      std::min(all_tiles, std::max(lease.n_threads() * kTasksPerThread, all_tiles / kMaxTilesPerTask));
  // Which thread does a task, and where it is cut, changes no bit.
  lease.parallel_for(n_tasks, [&](std::size_t task, std::size_t) {
    const std::size_t begin = task * all_tiles / n_tasks, end = (task + 1) * all_tiles / n_tasks;
    std::size_t before = 0;  // tiles of the jobs before this one
    for (const MatmulJob& job : jobs) {
      const std::size_t after = before + n_tiles(job);
      if (begin < after && before < end)
        run_share(kernel, job, std::max(begin, before) - before, std::min(end, after) - before);
      before = after;
    }
  });
}

void fetch_soon(Lease& lease, std::initializer_list<const PackedWeights*> weights) {
  std::size_t all_tiles = 0;
  for (const PackedWeights* w : weights) all_tiles += n_tiles(*w);
  const std::size_t n_threads = lease.n_threads();
  for (std::size_t t = 0; t < n_threads; ++t) {
    std::size_t tile = t * all_tiles / n_threads;  // of *w, where the thread's share begins
    auto w = weights.begin();
    for (; tile >= n_tiles(**w); ++w) tile -= n_tiles(**w);
    const std::size_t tile_bytes = (*w)->n_bytes() / n_tiles(**w);
    const std::size_t share_bytes = (all_tiles + n_threads - 1) / n_threads * tile_bytes;
    lease.fetch_soon(t, (*w)->view().data + tile * tile_bytes, std::min(kFetchBytes, share_bytes));
  }
}

void matmul(Lease& lease, const kernels::KernelTable& kernel, const PackedWeights& w, const ActivationBuffer& x,
            float* y, std::size_t y_stride) {
  const MatmulJob job{&w, &x, y, y_stride};
  matmul_many(lease, kernel, {&job, 1});
}

}  // namespace kvtape::ops
