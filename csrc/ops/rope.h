#pragma once
// Rotary position embedding (kernels/rope/rope.h).

#include <cstddef>

#include "base/thread_pool.h"
#include "kernels/table.h"

namespace kvtape::ops {

enum class RopeStyle { pairs, halves };  // (x[2i], x[2i+1]): llama; (x[i], x[i + head_dim/2]): qwen, gemma

// n_ctx: rows of args.cos and args.sin. Throws invalid_argument where head_dim is odd, rows overlap, or a position is
// outside [0, n_ctx).
void rope(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, RopeStyle style,
          const kernels::RopeArgs& args, std::size_t n_ctx);

}  // namespace kvtape::ops
