#pragma once
// Attention of some query rows over partitions of one KV head, folded into a running state.
//
// A partition is kPartitionLen absolute positions; a row sees those from first_visible up to, and without, n_visible
// (the partition is skipped for a row that sees none). One that a hole cuts is as many partitions as it has seen parts, at
// most two: the positions before the hole, then those behind it. Inside a partition, j being a position that the row sees:
//   s[j] = scale * Σ_d q[d] * k[j][d]     one ascending chain over d, acc = fma(q[d], k[j][d], acc) from +0, then * scale
//   m = max_j s[j], and +0 added to it    (so never -0; s > m from -inf)
//   p[j] = exp_f32(s[j] - m)
//   l = Σ_j p[j]                          kReduceLanes lanes: lane j % 16 adds p[j], ascending from +0, then
//                                         reduce_lanes. (One scalar chain costs 128 dependent additions a row.)
//   o[d] = Σ_j p[j] * v[j][d]             one ascending chain, acc = fma(p[j], v[j][d], acc) from +0
// With q8_0 tiles (kv_tile.h) the scales stay outside of the chains, where they cost next to nothing:
//   s[j]: such a chain over the integers of each block b gives dot_b; acc = fma(dot_b, k_scale[b][j], acc), ascending
//         from +0, then * scale
//   o[d]: with w[j] = p[j] * v_scale[d / kBlockLen][j], acc = fma(w[j], float(v[j][d]), acc)
// Positions that a row does not see have no part in its result, whatever is stored there, NaN included.
// Partitions are folded ascending (fold_states.h) into the state; the caller empties it every kPartitionGroup partitions
// and folds the groups ascending. Every instruction set gives the same bytes for finite scores.

#include <cstddef>
#include <cstdint>

#include "kernels/attention/fold_states.h"
#include "kernels/attention/kv_tile.h"

namespace kvtape::kernels {

struct AttendArgs {
  const float* const* q;  // [n_rows] pointers to head_dim floats
  std::size_t n_rows, head_dim, block_size;
  float scale;
  std::size_t n_partitions;
  // [n_partitions * kPartitionLen / block_size]; of each partition those may be null that lie before the first or behind
  // the last that any row sees
  const std::byte* const* k_tiles;
  const std::byte* const* v_tiles;  // the same
  const std::int32_t* n_visible;    // [n_partitions, n_rows], each 0 .. kPartitionLen
  AttentionState state;             // in and out
  // [n_partitions, n_rows], each 0 .. n_visible: where a window begins, or a hole ends; null where no row is cut
  const std::int32_t* first_visible = nullptr;
};

using Attend = void(const AttendArgs&) noexcept;

namespace ref { Attend attend_f16, attend_q8_0; }
namespace avx2 { Attend attend_f16, attend_q8_0; }
namespace avx512 { Attend attend_f16, attend_q8_0; }
namespace neon { Attend attend_f16, attend_q8_0; }

}  // namespace kvtape::kernels
