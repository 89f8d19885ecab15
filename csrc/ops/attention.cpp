#include "ops/attention.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "kernels/numerics.h"

namespace kvtape::ops {
namespace {

using kernels::kPartitionGroup;
using kernels::kPartitionLen;

// Queries (a row's heads of one KV head) that go through the KV together. Eight full register blocks of the AVX2 kernel;
// by then a partition has been used often enough that fetching it no longer counts.
constexpr std::size_t kTileQueries = 48;
constexpr std::size_t kMaxTileQueries = 64;

constexpr std::size_t kGroupLen = kPartitionLen * kPartitionGroup;

struct Row {
  std::size_t index;  // in q and out
  std::size_t position;
};

// Rows [row_begin, row_end) of the wave over partitions [part_begin, part_end) of one group and one KV head.
struct Task {
  std::size_t kv_head, row_begin, row_end, part_begin, part_end;
  const AttentionSpan* span;  // whose block table and hole hold there for all rows
};

struct Range {  // of positions
  std::size_t begin, end;
};

// What a hole leaves of partitions [part_begin, part_end), of one group at most: ascending, each in one partition, as the
// contract of attend() takes them. One that both edges of the hole cut is two.
class SeenRanges {
 public:
  SeenRanges(std::size_t part_begin, std::size_t part_end, const kernels::Hole& hole) noexcept {
    const auto hole_begin = static_cast<std::size_t>(hole.begin), hole_end = static_cast<std::size_t>(hole.end);
    for (std::size_t begin = part_begin * kPartitionLen; begin < part_end * kPartitionLen; begin += kPartitionLen) {
      const std::size_t end = begin + kPartitionLen;
      if (hole.empty() || end <= hole_begin || hole_end <= begin) {
        ranges_[n_++] = {begin, end};
        continue;
      }
      if (begin < hole_begin) ranges_[n_++] = {begin, hole_begin};
      if (hole_end < end) ranges_[n_++] = {hole_end, end};
    }
  }

  static constexpr std::size_t kMost = kPartitionGroup + 1;

  [[nodiscard]] std::size_t size() const noexcept { return n_; }
  [[nodiscard]] const Range& operator[](std::size_t i) const noexcept { return ranges_[i]; }

 private:
  Range ranges_[kMost];
  std::size_t n_ = 0;
};

[[noreturn]] void refuse(const std::string& message) {
  throw base::Error(base::ErrorCode::invalid_argument, "attention: " + message);
}

void check_pool(const KvPool& pool, std::size_t layer) {
  const KvLayout& layout = pool.layout;
  if (layout.head_dim == 0 || layout.head_dim % 8 != 0 || layout.head_dim > kernels::kMaxHeadDim) {
    refuse("head_dim is " + std::to_string(layout.head_dim) + ", wanted a multiple of 8, at most 256");
  }
  if (layout.block_size != 32 && layout.block_size != 64 && layout.block_size != 128) {
    refuse("block_size is " + std::to_string(layout.block_size) + ", wanted 32, 64 or 128");
  }
  if (layer >= layout.n_layers) {
    refuse("layer " + std::to_string(layer) + " of a pool of " + std::to_string(layout.n_layers) + " layers");
  }
}

// Entries of the span's block table before that of `block`.
std::size_t n_entries(const AttentionSpan& span, std::size_t block, std::size_t block_size) noexcept {
  const auto n = span.hole.n_entries(static_cast<std::int32_t>(block), static_cast<std::int32_t>(block_size));
  return static_cast<std::size_t>(n);
}

void check_span(const KvPool& pool, const AttentionSpan& span) {
  if (span.first_position < 0)
    refuse("first_position is " + std::to_string(span.first_position) + ", wanted at least 0");
  const std::size_t end = static_cast<std::size_t>(span.first_position) + span.n_rows;
  if (span.hole.begin < 0 || span.hole.end < span.hole.begin || span.first_position < span.hole.end) {
    refuse("a hole of positions " + std::to_string(span.hole.begin) + " to " + std::to_string(span.hole.end) +
           ", wanted it before first_position, which is " + std::to_string(span.first_position));
  }
  const std::size_t block_size = pool.layout.block_size,
                    hole_end = static_cast<std::size_t>(span.hole.end) / block_size;
  const std::size_t n_absent = hole_end - n_entries(span, hole_end, block_size);
  const std::size_t covered = (span.blocks.size() + n_absent) * block_size;
  if (covered < end || covered < span.shared_len) {
    refuse("the block table covers " + std::to_string(covered) + " positions, wanted " +
           std::to_string(std::max(end, span.shared_len)));
  }
  for (const std::int32_t id : span.blocks) {
    if (id < 0 || static_cast<std::size_t>(id) >= pool.n_blocks) {
      refuse("block id " + std::to_string(id) + " of a pool of " + std::to_string(pool.n_blocks) + " blocks");
    }
  }
}

}  // namespace

struct AttentionScratch::Buffers {
  base::AlignedBuffer<float> m, l, o;  // states of a wave: [n_kv_heads, n_groups, n_queries], o with head_dim
  std::vector<Row> rows;               // of the wave
  std::vector<AttentionSpan> spans;    // of the wave: first_row indexes rows
  std::vector<Task> shared, own, fold;
  std::size_t max_states_floats = 0;
};

AttentionScratch::AttentionScratch(std::size_t max_states_floats) : buffers_(std::make_unique<Buffers>()) {
  buffers_->max_states_floats = max_states_floats;
}
AttentionScratch::~AttentionScratch() = default;
AttentionScratch::AttentionScratch(AttentionScratch&&) noexcept = default;
AttentionScratch& AttentionScratch::operator=(AttentionScratch&&) noexcept = default;

namespace {

class Wave {
 public:
  Wave(const kernels::KernelTable& table, const KvPool& pool, std::size_t layer, const AttentionQueries& queries,
       AttentionScratch::Buffers& buffers)
      : table_(table),
        kernel_(pool.layout.type == kernels::KvType::f16 ? table.attend_f16 : table.attend_q8_0),
        pool_(pool),
        layout_(pool.layout),
        queries_(queries),
        buffers_(buffers),
        layer_offset_(layer * layout_.layer_bytes()),
        heads_per_kv_(queries.n_heads / layout_.n_kv_heads),
        tile_rows_(std::max<std::size_t>(1, kTileQueries / heads_per_kv_)) {
    buffers_.rows.clear();
    buffers_.spans.clear();
  }

  // Takes as many of the span's rows from `begin` on as there is room for, and returns their number.
  std::size_t add(const AttentionSpan& span, std::size_t begin) {
    const std::size_t first = buffers_.rows.size();
    for (std::size_t i = begin; i < span.n_rows; ++i) {
      const std::size_t position = static_cast<std::size_t>(span.first_position) + i;
      const std::size_t n_groups = std::max(n_groups_, position / kGroupLen + 1);
      const std::size_t n_queries = (buffers_.rows.size() + 1) * heads_per_kv_;
      if (!buffers_.rows.empty() &&
          n_queries * layout_.n_kv_heads * n_groups * layout_.head_dim > buffers_.max_states_floats)
        break;
      n_groups_ = n_groups;
      buffers_.rows.push_back({span.first_row + i, position});
    }
    const std::size_t n_taken = buffers_.rows.size() - first;
    if (n_taken > 0) {
      AttentionSpan part = span;
      part.first_row = first;
      part.n_rows = n_taken;
      buffers_.spans.push_back(part);
    }
    return n_taken;
  }

  void run(base::ThreadPool::Lease& lease) {
    const std::size_t n_states = layout_.n_kv_heads * n_groups_ * buffers_.rows.size() * heads_per_kv_;
    buffers_.m.reserve_discard(n_states);
    buffers_.l.reserve_discard(n_states);
    buffers_.o.reserve_discard(n_states * layout_.head_dim);
    plan();
    const auto attend_all = [&](const std::vector<Task>& tasks) {
      lease.parallel_for(tasks.size(), [&](std::size_t i, std::size_t) { attend(tasks[i]); });
    };
    attend_all(buffers_.shared);
    attend_all(buffers_.own);
    lease.parallel_for(buffers_.fold.size(), [&](std::size_t i, std::size_t) { finish(buffers_.fold[i]); });
  }

 private:
  // Partitions that all spans of [begin, end) share; their block tables and holes must agree on them.
  std::size_t shared_partitions(std::size_t begin, std::size_t end) const {
    if (end - begin < 2) return 0;
    const auto& spans = buffers_.spans;
    std::size_t len = spans[begin].shared_len;
    for (std::size_t s = begin + 1; s < end; ++s) len = std::min(len, spans[s].shared_len);
    const std::size_t n = len / kPartitionLen;
    const std::size_t n_blocks = n_entries(spans[begin], n * kPartitionLen / layout_.block_size, layout_.block_size);
    const auto sees_all = [&](const AttentionSpan& span) {
      return span.hole.empty() || n * kPartitionLen <= static_cast<std::size_t>(span.hole.begin);
    };
    for (std::size_t s = begin + 1; s < end; ++s) {
      if (spans[s].hole != spans[begin].hole && !(sees_all(spans[s]) && sees_all(spans[begin]))) {
        refuse("spans of group " + std::to_string(spans[s].group) + " share " + std::to_string(len) +
               " positions but not their holes");
      }
      if (!std::ranges::equal(spans[s].blocks.first(n_blocks), spans[begin].blocks.first(n_blocks))) {
        refuse("spans of group " + std::to_string(spans[s].group) + " share " + std::to_string(len) +
               " positions but not their blocks");
      }
    }
    return n;
  }

  // Appends tasks for rows [row_begin, row_end) over partitions [part_begin, part_end), tile by tile, group by group.
  void add_tasks(std::vector<Task>& tasks, std::size_t row_begin, std::size_t row_end, std::size_t part_begin,
                 std::size_t part_end, const AttentionSpan* span) const {
    for (std::size_t part = part_begin; part < part_end;) {
      const std::size_t group_end = std::min(part_end, (part / kPartitionGroup + 1) * kPartitionGroup);
      for (std::size_t kv_head = 0; kv_head < layout_.n_kv_heads; ++kv_head) {
        for (std::size_t row = row_begin; row < row_end; row += tile_rows_) {
          tasks.push_back({kv_head, row, std::min(row_end, row + tile_rows_), part, group_end, span});
        }
      }
      part = group_end;
    }
  }

  void plan() const {
    AttentionScratch::Buffers& b = buffers_;
    b.shared.clear();
    b.own.clear();
    b.fold.clear();
    for (std::size_t begin = 0, end; begin < b.spans.size(); begin = end) {
      for (end = begin + 1; end < b.spans.size() && b.spans[end].group == b.spans[begin].group;) ++end;
      const std::size_t n_shared = shared_partitions(begin, end);
      const AttentionSpan& last = b.spans[end - 1];
      add_tasks(b.shared, b.spans[begin].first_row, last.first_row + last.n_rows, 0, n_shared, &last);
      for (std::size_t s = begin; s < end; ++s) {
        const AttentionSpan& span = b.spans[s];
        const std::size_t row_end = span.first_row + span.n_rows;
        const std::size_t n_partitions = b.rows[row_end - 1].position / kPartitionLen + 1;
        add_tasks(b.own, span.first_row, row_end, n_shared, n_partitions, &span);
        add_tasks(b.fold, span.first_row, row_end, 0, 1, nullptr);
      }
    }
  }

  // The first position that a row at `position` sees.
  std::size_t first_seen(std::size_t position) const noexcept {
    return queries_.window == 0 || position < queries_.window ? 0 : position + 1 - queries_.window;
  }

  // States of one KV head and group, from the first query of `row` on.
  kernels::AttentionState state(std::size_t kv_head, std::size_t group, std::size_t row) const noexcept {
    const std::size_t first = ((kv_head * n_groups_ + group) * buffers_.rows.size() + row) * heads_per_kv_;
    return {buffers_.m.data() + first, buffers_.l.data() + first, buffers_.o.data() + first * layout_.head_dim};
  }

  void attend(const Task& task) const noexcept {
    const Row* rows = buffers_.rows.data();
    // Positions ascend inside a span, but a shared task has several.
    std::size_t least = rows[task.row_begin].position, most = 0;
    for (std::size_t row = task.row_begin; row < task.row_end; ++row) {
      least = std::min(least, rows[row].position);
      most = std::max(most, rows[row].position);
    }
    const std::size_t part_begin = std::max(task.part_begin, first_seen(least) / kPartitionLen);
    const std::size_t part_end = std::min(task.part_end, most / kPartitionLen + 1);
    const kernels::AttentionState state_at = state(task.kv_head, task.part_begin / kPartitionGroup, task.row_begin);
    const std::size_t n_queries = (task.row_end - task.row_begin) * heads_per_kv_;
    if (task.part_begin % kPartitionGroup == 0) std::fill_n(state_at.l, n_queries, 0.0f);
    const AttentionSpan& span = *task.span;
    const SeenRanges ranges(part_begin, part_end, span.hole);
    if (ranges.size() == 0) return;

    const float* q[kMaxTileQueries];
    std::int32_t n_visible[SeenRanges::kMost * kMaxTileQueries], first_visible[SeenRanges::kMost * kMaxTileQueries];
    std::size_t query = 0;
    for (std::size_t row = task.row_begin; row < task.row_end; ++row) {
      const float* first =
          queries_.q + rows[row].index * queries_.q_stride + task.kv_head * heads_per_kv_ * layout_.head_dim;
      for (std::size_t h = 0; h < heads_per_kv_; ++h, ++query) {
        q[query] = first + h * layout_.head_dim;
        for (std::size_t i = 0; i < ranges.size(); ++i) {
          const std::size_t partition = ranges[i].begin / kPartitionLen * kPartitionLen;
          const auto offset = [&](std::size_t position) {  // in the partition, of the nearest one in the range
            return static_cast<std::int32_t>(std::clamp(position, ranges[i].begin, ranges[i].end) - partition);
          };
          n_visible[i * n_queries + query] = offset(rows[row].position + 1);
          first_visible[i * n_queries + query] = offset(first_seen(rows[row].position));
        }
      }
    }

    const std::size_t tiles_per_partition = kPartitionLen / layout_.block_size;
    constexpr std::size_t kMaxTiles = SeenRanges::kMost * kPartitionLen / 32;
    const std::byte *k_tiles[kMaxTiles] = {}, *v_tiles[kMaxTiles] = {};
    for (std::size_t i = 0; i < ranges.size() && ranges[i].begin <= most; ++i) {
      const std::size_t first = ranges[i].begin / layout_.block_size, tile = first % tiles_per_partition;
      const std::size_t n = std::min(ranges[i].end - 1, most) / layout_.block_size + 1 - first;
      const std::int32_t* ids = span.blocks.data() + n_entries(span, first, layout_.block_size);
      for (std::size_t b = 0; b < n; ++b) {
        const std::byte* k = pool_.data + static_cast<std::size_t>(ids[b]) * layout_.block_bytes() + layer_offset_ +
                             task.kv_head * layout_.tile_bytes();
        k_tiles[i * tiles_per_partition + tile + b] = k;
        v_tiles[i * tiles_per_partition + tile + b] = k + layout_.n_kv_heads * layout_.tile_bytes();
      }
    }
    kernel_({.q = q,
             .n_rows = n_queries,
             .head_dim = layout_.head_dim,
             .block_size = layout_.block_size,
             .scale = queries_.scale,
             .n_partitions = ranges.size(),
             .k_tiles = k_tiles,
             .v_tiles = v_tiles,
             .n_visible = n_visible,
             .state = state_at,
             .first_visible = queries_.window == 0 && span.hole.empty() ? nullptr : first_visible});
  }

  // Folds the groups of a tile of one span's rows, and divides.
  void finish(const Task& task) const noexcept {
    const Row* rows = buffers_.rows.data();
    const kernels::AttentionState into = state(task.kv_head, 0, task.row_begin);
    std::size_t row = task.row_begin;  // the first row that sees the group; its followers do too
    for (std::size_t group = 1; group <= rows[task.row_end - 1].position / kGroupLen; ++group) {
      while (rows[row].position / kGroupLen < group) ++row;
      table_.fold_states(state(task.kv_head, 0, row), state(task.kv_head, group, row),
                         (task.row_end - row) * heads_per_kv_, layout_.head_dim);
    }
    const std::size_t head_dim = layout_.head_dim;
    std::size_t query = 0;
    for (row = task.row_begin; row < task.row_end; ++row) {
      float* out = queries_.out + rows[row].index * queries_.out_stride + task.kv_head * heads_per_kv_ * head_dim;
      for (std::size_t h = 0; h < heads_per_kv_; ++h, ++query, out += head_dim) {
        for (std::size_t d = 0; d < head_dim; ++d) out[d] = into.o[query * head_dim + d] / into.l[query];
      }
    }
  }

  const kernels::KernelTable& table_;
  kernels::Attend* const kernel_;
  const KvPool& pool_;
  const KvLayout& layout_;
  const AttentionQueries& queries_;
  AttentionScratch::Buffers& buffers_;
  std::size_t layer_offset_, heads_per_kv_, tile_rows_;
  std::size_t n_groups_ = 1;
};

}  // namespace

kernels::KvType kv_type(std::string_view name) {
  if (name == "f16") return kernels::KvType::f16;
  if (name == "q8_0") return kernels::KvType::q8_0;
  refuse("KV type '" + std::string(name) + "', wanted f16 or q8_0");
}

void attention(base::ThreadPool::Lease& lease, const kernels::KernelTable& table, const KvPool& pool, std::size_t layer,
               const AttentionQueries& queries, std::span<const AttentionSpan> spans, AttentionScratch& scratch) {
  check_pool(pool, layer);
  const std::size_t n_kv_heads = pool.layout.n_kv_heads;
  if (n_kv_heads == 0 || queries.n_heads == 0 || queries.n_heads % n_kv_heads != 0 ||
      queries.n_heads / n_kv_heads > kMaxTileQueries) {
    refuse(std::to_string(queries.n_heads) + " heads over " + std::to_string(n_kv_heads) +
           " KV heads, wanted a multiple, at most 64-fold");
  }
  for (const AttentionSpan& span : spans) check_span(pool, span);
  std::size_t span = 0, taken = 0;  // rows of spans[span] that earlier waves have taken
  while (span < spans.size()) {
    Wave wave(table, pool, layer, queries, scratch.buffers());
    for (; span < spans.size(); ++span, taken = 0) {
      taken += wave.add(spans[span], taken);
      if (taken < spans[span].n_rows) break;
    }
    wave.run(lease);
  }
}

void write_kv(base::ThreadPool::Lease& lease, const kernels::KernelTable& table, const KvPool& pool, std::size_t layer,
              const float* k, std::size_t k_stride, const float* v, std::size_t v_stride,
              std::span<const AttentionSpan> spans) {
  check_pool(pool, layer);
  const KvLayout& layout = pool.layout;
  const auto kernel = layout.type == kernels::KvType::f16 ? table.write_kv_f16 : table.write_kv_q8_0;
  for (const AttentionSpan& span : spans) {
    check_span(pool, span);
    if (span.n_rows == 0) continue;
    const std::size_t first = static_cast<std::size_t>(span.first_position), end = first + span.n_rows;
    const std::size_t first_block = first / layout.block_size, end_block = (end - 1) / layout.block_size + 1;
    lease.parallel_for(end_block - first_block, [&](std::size_t i, std::size_t) {  // one block: without the others
      const std::size_t block = first_block + i, begin = std::max(first, block * layout.block_size);
      const std::size_t row = span.first_row + begin - first;
      kernel({.k = k + row * k_stride,
              .v = v + row * v_stride,
              .k_stride = k_stride,
              .v_stride = v_stride,
              .n_rows = std::min(end, (block + 1) * layout.block_size) - begin,
              .slot = begin % layout.block_size,
              .tiles = pool.data +
                       static_cast<std::size_t>(span.blocks[n_entries(span, block, layout.block_size)]) *
                           layout.block_bytes() +
                       layer * layout.layer_bytes(),
              .n_kv_heads = layout.n_kv_heads,
              .head_dim = layout.head_dim,
              .block_size = layout.block_size});
    });
  }
}

}  // namespace kvtape::ops
