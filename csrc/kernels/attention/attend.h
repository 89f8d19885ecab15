#pragma once
// Attention of some query rows over partitions of one KV head, folded into a running state.
//
// A partition is kPartitionLen absolute positions; row r sees the first n_visible of it (0: the partition is skipped for
// that row). Inside a partition, with S = n_visible:
//   s[j] = scale * Σ_d q[d] * k[j][d]     one ascending chain over d, acc = fma(q[d], k[j][d], acc) from +0, then * scale
//   m = max_j s[j];   p[j] = exp_f32(s[j] - m)
//   l = Σ_j p[j]                          one ascending chain of additions from +0
//   o[d] = Σ_j p[j] * v[j][d]             one ascending chain, acc = fma(p[j], v[j][d], acc) from +0
// Positions at or beyond S are not touched. fold(a, b) joins two states, a before b:
//   fold(empty, b) = b;  else M = max(m_a, m_b), x = exp_f32(m_a - M), y = exp_f32(m_b - M),
//   l = fma(l_b, y, l_a * x),  o[d] = fma(o_b[d], y, o_a[d] * x),  m = M
// Partitions are folded ascending inside groups of kPartitionGroup (attend), the groups ascending after that (fold_states),
// and the result is o[d] / l (normalize). An empty state has l = 0 (and any m, o).
//
// KV tiles are f16, a tile being one layer's K or V of one KV head of one cache block:
//   k: [head_dim][block_size], positions in lanes        v: [block_size][head_dim]
//   block_size is 32, 64 or 128; head_dim a multiple of 8, at most 256; tiles are 64-byte aligned.

#include <cstddef>
#include <cstdint>

namespace kvtape::kernels {

struct AttentionState {  // of one query row and one head
  float* m;              // [n_rows]
  float* l;              // [n_rows]
  float* o;              // [n_rows, head_dim]
};

struct AttendArgs {
  const float* const* q;                 // [n_rows] pointers to head_dim floats
  std::size_t n_rows, head_dim, block_size;
  float scale;
  std::size_t n_partitions;              // of one group: at most kPartitionGroup
  const std::uint16_t* const* k_tiles;   // [n_partitions * kPartitionLen / block_size]; may be null where no row sees it
  const std::uint16_t* const* v_tiles;   // the same
  const std::int32_t* n_visible;         // [n_partitions, n_rows], each 0 .. kPartitionLen
  AttentionState state;                  // in and out
};

using Attend = void(const AttendArgs&) noexcept;

// into = fold(into, from), for n_rows states.
using FoldStates = void(const AttentionState& into, const AttentionState& from, std::size_t n_rows,
                        std::size_t head_dim) noexcept;

// Writes one token's K and V (float32, [n_kv_heads, head_dim] each, rounded to nearest even) to slot `slot` of its block.
// tiles: the block's [2, n_kv_heads] tiles of this layer, K of every head first, then V.
using WriteKv = void(const float* k, const float* v, std::size_t n_kv_heads, std::size_t head_dim, std::size_t block_size,
                     std::size_t slot, std::uint16_t* tiles) noexcept;

namespace ref {
Attend attend;
FoldStates fold_states;
WriteKv write_kv;
}  // namespace ref
namespace avx2 {
Attend attend;
FoldStates fold_states;
WriteKv write_kv;
}  // namespace avx2

}  // namespace kvtape::kernels
