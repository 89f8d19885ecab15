#pragma once
// Causal attention of a batch of rows over a paged KV pool, and the writing of K and V into it.
//
// The bits of a row depend on its query, its position and the KV it sees, and on nothing else: not on the other rows, the
// order of block ids, block_size, what is shared, or the number of threads (kernels/attention/attend.h fixes the sums).

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "kernels/attention/hole.h"
#include "kernels/table.h"

namespace kvtape::ops {

// "f16" or "q8_0". Throws Error{invalid_argument} for another name.
kernels::KvType kv_type(std::string_view name);

// A block holds block_size consecutive positions of all layers: [n_layers][2][n_kv_heads] tiles (kv_tile.h), K of every
// head of a layer first, then V.
struct KvLayout {
  std::size_t n_layers, n_kv_heads, head_dim, block_size;  // block_size: 32, 64 or 128
  kernels::KvType type = kernels::KvType::f16;

  [[nodiscard]] std::size_t tile_bytes() const noexcept { return kernels::kv_tile_bytes(type, head_dim, block_size); }
  [[nodiscard]] std::size_t layer_bytes() const noexcept { return 2 * n_kv_heads * tile_bytes(); }
  [[nodiscard]] std::size_t block_bytes() const noexcept { return n_layers * layer_bytes(); }
};

struct KvPool {
  KvLayout layout;
  std::byte* data;  // [n_blocks, block_bytes()], 64-byte aligned
  std::size_t n_blocks;
};

// n_rows consecutive tokens of one sequence. Row i stands at position first_position + i and sees positions 0 to its own,
// without those of the hole, which is before first_position.
// Spans of one group stand side by side in a batch and have the same blocks in their first shared_len positions; those
// are read once for the whole group, in whole partitions of 128. A span that shares nothing has shared_len = 0.
struct AttentionSpan {
  std::size_t first_row, n_rows;  // rows [first_row, first_row + n_rows) of q, k, v and out
  std::int32_t first_position;
  std::span<const std::int32_t>
      blocks;  // block id of each block_size positions, from position 0; hole.h says which lack
  std::size_t group = 0;
  std::size_t shared_len = 0;  // spans with different holes share nothing from the first hole on
  kernels::Hole hole = {};
};

struct AttentionQueries {
  const float* q;  // [n_rows, n_heads, head_dim], rows q_stride floats apart
  std::size_t q_stride;
  std::size_t n_heads;  // a multiple of n_kv_heads; heads h * (n_heads / n_kv_heads) and on read KV head h
  float scale;
  float* out;  // as q, rows out_stride floats apart
  std::size_t out_stride;
  std::size_t window = 0;  // a row at position p sees the last `window` positions, p among them; 0: all up to p
};

// Working memory of attention(); grows to the largest batch it has seen, then nothing is allocated. Batches whose softmax
// states would take more than max_states_floats are done in waves of rows; one row is always done at once.
class AttentionScratch {
 public:
  static constexpr std::size_t kMaxStatesFloats = std::size_t{4}
                                                  << 20;  // 16 MiB, against the L3 of a server's core or two

  explicit AttentionScratch(std::size_t max_states_floats = kMaxStatesFloats);
  ~AttentionScratch();
  AttentionScratch(AttentionScratch&&) noexcept;
  AttentionScratch& operator=(AttentionScratch&&) noexcept;

  struct Buffers;
  [[nodiscard]] Buffers& buffers() noexcept { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// Attends every row of the spans; K and V of the rows themselves are in the pool already (write_kv).
// Throws Error{invalid_argument} for a layer, block id, head count or block table that does not fit.
void attention(base::ThreadPool::Lease& lease, const kernels::KernelTable& table, const KvPool& pool, std::size_t layer,
               const AttentionQueries& queries, std::span<const AttentionSpan> spans, AttentionScratch& scratch);

// Writes the K and V of every row of the spans to its position's slot of the pool.
//   k, v: [n_rows, n_kv_heads, head_dim] float32, rows k_stride and v_stride floats apart
void write_kv(base::ThreadPool::Lease& lease, const kernels::KernelTable& table, const KvPool& pool, std::size_t layer,
              const float* k, std::size_t k_stride, const float* v, std::size_t v_stride,
              std::span<const AttentionSpan> spans);

}  // namespace kvtape::ops
