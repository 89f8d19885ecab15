#include "ops/rope.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace kvtape::ops {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kRowsPerTask = 16;

}  // namespace

void rope(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, RopeStyle style,
          const kernels::RopeArgs& args, std::size_t n_ctx) {
  if (args.head_dim % 2 != 0) {
    throw Error(ErrorCode::invalid_argument, "head_dim: " + std::to_string(args.head_dim) + ", wanted an even number");
  }
  if (args.n_rows > 1 && args.x_stride < args.n_heads * args.head_dim) {
    throw Error(ErrorCode::invalid_argument, "x_stride: " + std::to_string(args.x_stride) + ", wanted at least " +
                                                 std::to_string(args.n_heads * args.head_dim));
  }
  for (std::size_t r = 0; r < args.n_rows; ++r) {
    if (args.positions[r] < 0 || static_cast<std::size_t>(args.positions[r]) >= n_ctx) {
      throw Error(ErrorCode::invalid_argument, "positions[" + std::to_string(r) +
                                                   "]: " + std::to_string(args.positions[r]) + ", wanted 0 to " +
                                                   std::to_string(n_ctx) + " exclusive");
    }
  }
  kernels::Rope* turn = style == RopeStyle::pairs ? kernel.rope_pairs : kernel.rope_halves;
  lease.parallel_for((args.n_rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t begin = task * kRowsPerTask;
    kernels::RopeArgs part = args;
    part.x += begin * args.x_stride;
    part.positions += begin;
    part.n_rows = std::min(kRowsPerTask, args.n_rows - begin);
    turn(part);
  });
}

}  // namespace kvtape::ops
