// Rows are worked on in blocks of up to 6 that share every load and conversion of K and V: 12 accumulators of 8 lanes.
//
// A row over a partition costs 256 * head_dim multiply-adds (32 * head_dim FMAs), 16 exponentials of 8 lanes, and
// 512 * head_dim bytes of KV, shared with the other rows that the caller brings. With 3 rows (one token of a 3-fold grouped
// model) that is 1.5 multiply-adds a byte, and memory is the bound. With 6 rows and more a block's inner loops do 12 FMAs
// for 2 conversions and 6 broadcasts, so the two FMA ports are the bound; the KV of a partition (128 KiB at most, 32 KiB
// at head_dim 64) comes from L1 or L2 for every block but the first.

#include "kernels/attention/attend.h"

#include <immintrin.h>

#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

constexpr std::size_t kBlockRows = 6;

struct Block {  // rows that see something of one partition
  std::size_t n_rows = 0;
  std::size_t row[kBlockRows];  // index into the caller's rows
  const float* q[kBlockRows];   // [head_dim] each
  std::size_t first_visible[kBlockRows], n_visible[kBlockRows];
  std::size_t begin = kPartitionLen, end = 0;                // what any row sees
  std::size_t common_begin = 0, common_end = kPartitionLen;  // what all rows see; empty from common_begin on if nothing
  alignas(32) float p[kBlockRows][kPartitionLen];            // scores, then their exponentials
  alignas(32) float m[8] = {}, l[8] = {};                    // of the partition
  alignas(32) float keep[8], add[8];                         // factors of the state's o and of the partition's o
  bool was_empty[kBlockRows];                                // the state: the partition's o is taken as it is
};

// A loop over a block's rows or vectors. Unrolled early, or GCC keeps the arrays of accumulators in memory.
#define KVTAPE_EACH(i, n) _Pragma("GCC unroll 8") for (std::size_t i = 0; i < (n); ++i)

template <std::size_t R, std::size_t C>
inline void clear(__m256 (&acc)[R][C]) noexcept {
  KVTAPE_EACH(r, R) KVTAPE_EACH(c, C) acc[r][c] = _mm256_setzero_ps();
}

// acc[r][c] += a[r][i] * b[8 c .. 8 c + 8)
template <std::size_t R, std::size_t C>
inline void multiply_add(__m256 (&acc)[R][C], const float* const (&a)[R], std::size_t i,
                         const std::uint16_t* b) noexcept {
  if constexpr (C > R) {  // the fewer operands stay in registers
    __m256 rows[R];
    KVTAPE_EACH(r, R) rows[r] = _mm256_broadcast_ss(a[r] + i);
    KVTAPE_EACH(c, C) {
      const __m256 column = load8_f16(b + 8 * c);
      KVTAPE_EACH(r, R) acc[r][c] = _mm256_fmadd_ps(rows[r], column, acc[r][c]);
    }
  } else {
    __m256 columns[C];
    KVTAPE_EACH(c, C) columns[c] = load8_f16(b + 8 * c);
    KVTAPE_EACH(r, R) {
      const __m256 row = _mm256_broadcast_ss(a[r] + i);
      KVTAPE_EACH(c, C) acc[r][c] = _mm256_fmadd_ps(row, columns[c], acc[r][c]);
    }
  }
}

// With few rows a partition is bound by memory, and its tiles are too short for the hardware's prefetcher to learn. So
// while K is read the lines of V are fetched, and while V is read those of the next partition's K, one for one. Into L2:
// L1 has too few fill buffers. (One row of 9 heads at 4,096 positions from memory on a Zen 4 core: 0.41 ms without,
// 0.32 ms into L1, 0.17 ms into L2.)
constexpr std::size_t kFewRows = 3;

inline void prefetch_line(const std::uint16_t* begin, std::size_t i) noexcept {
  _mm_prefetch(reinterpret_cast<const char*>(begin) + 64 * i, _MM_HINT_T1);
}

// block.p[r][j .. j + 8 C) = scale * q[r] . k, for 8 C positions. k: the tile, at the first of them.
template <std::size_t R, std::size_t C>
inline void score_chunk(Block& block, const AttendArgs& args, const std::uint16_t* k, const std::uint16_t* v_soon,
                        std::size_t j) noexcept {
  const float* q[R];
  KVTAPE_EACH(r, R) q[r] = block.q[r];
  __m256 acc[R][C];
  clear(acc);
  for (std::size_t d = 0; d < args.head_dim; ++d, k += args.block_size) {
    if constexpr (R <= kFewRows) prefetch_line(v_soon, d);
    multiply_add(acc, q, d, k);
  }
  const __m256 scale = _mm256_set1_ps(args.scale);
  KVTAPE_EACH(r, R) KVTAPE_EACH(c, C) _mm256_store_ps(block.p[r] + j + 8 * c, _mm256_mul_ps(acc[r][c], scale));
}

// Scores to exponentials, with their maximum and sum. Unseen scores beside seen ones become -inf, so they add +0 to the
// lanes.
inline void softmax_row(float* p, std::size_t first_visible, std::size_t n_visible, float* m_out,
                        float* l_out) noexcept {
  const std::size_t begin = first_visible / kReduceLanes * kReduceLanes;
  const std::size_t end = (n_visible + kReduceLanes - 1) / kReduceLanes * kReduceLanes;
  const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
  for (std::size_t j = begin; j < first_visible; j += 8) {
    const std::size_t n = first_visible - j;
    const __m256 unseen = _mm256_castsi256_ps(first_lanes(n < 8 ? n : 8));
    _mm256_store_ps(p + j, _mm256_blendv_ps(_mm256_load_ps(p + j), lowest, unseen));
  }
  for (std::size_t j = end - kReduceLanes; j < end; j += 8) {
    const std::size_t n = n_visible <= j ? 0 : n_visible - j;
    const __m256 seen = _mm256_castsi256_ps(first_lanes(n < 8 ? n : 8));
    _mm256_store_ps(p + j, _mm256_blendv_ps(lowest, _mm256_load_ps(p + j), seen));
  }
  __m256 most = lowest;
  for (std::size_t j = begin; j < end; j += 8) most = _mm256_max_ps(_mm256_load_ps(p + j), most);
  const float m = max8(most) + 0.0f;
  __m256 low = _mm256_setzero_ps(), high = low;
  for (std::size_t j = begin; j < end; j += 16) {
    const __m256 p_low = exp8(_mm256_sub_ps(_mm256_load_ps(p + j), _mm256_set1_ps(m)));
    const __m256 p_high = exp8(_mm256_sub_ps(_mm256_load_ps(p + j + 8), _mm256_set1_ps(m)));
    low = _mm256_add_ps(low, p_low);
    high = _mm256_add_ps(high, p_high);
    _mm256_store_ps(p + j, p_low);
    _mm256_store_ps(p + j + 8, p_high);
  }
  *m_out = m;
  *l_out = reduce16(low, high);
}

// Folds m and l of the block's rows into the state, and leaves what value_chunk needs to fold o.
inline void fold_sums(Block& block, const AttentionState& state) noexcept {
  alignas(32) float m_state[8] = {}, l_state[8] = {};
  for (std::size_t r = 0; r < block.n_rows; ++r) {
    m_state[r] = state.m[block.row[r]];
    l_state[r] = state.l[block.row[r]];
  }
  const __m256 m_a = _mm256_load_ps(m_state), m_b = _mm256_load_ps(block.m), l_a = _mm256_load_ps(l_state);
  const __m256 m = _mm256_max_ps(m_b, m_a);
  const __m256 x = exp8(_mm256_sub_ps(m_a, m)), y = exp8(_mm256_sub_ps(m_b, m));
  _mm256_store_ps(block.keep, x);
  _mm256_store_ps(block.add, y);
  _mm256_store_ps(m_state, m);
  alignas(32) float l[8];
  _mm256_store_ps(l, _mm256_fmadd_ps(_mm256_load_ps(block.l), y, _mm256_mul_ps(l_a, x)));
  for (std::size_t r = 0; r < block.n_rows; ++r) {
    const bool empty = block.was_empty[r] = l_state[r] == 0.0f;
    state.m[block.row[r]] = empty ? block.m[r] : m_state[r];
    state.l[block.row[r]] = empty ? block.l[r] : l[r];
  }
}

// The lines of the next partition's K that are fetched along with V's positions from `begin` on: kLines for each of the
// 128 while elements [d, d + 32 kLines) are done, so that each is fetched once. `v` where there is no such tile.
template <std::size_t kLines>
inline const std::uint16_t* lines_of(const std::uint16_t* const* k_soon, const AttendArgs& args, std::size_t d,
                                     std::size_t begin, const std::uint16_t* v) noexcept {
  if constexpr (kLines == 0) return v;
  const std::size_t line = 4 * d + kLines * begin, tile_lines = args.head_dim * args.block_size / 32;
  const std::uint16_t* tile = k_soon[line / tile_lines];
  return tile == nullptr ? v : tile + 32 * (line % tile_lines);
}

// acc += p[j] * v[j][d .. d + 8 C) over positions [begin, end), for one row.
template <std::size_t C>
inline void add_values(__m256 (&acc)[C], const float* p, const AttendArgs& args, const std::uint16_t* const* v_tiles,
                       std::size_t d, std::size_t begin, std::size_t end) noexcept {
  for (std::size_t j = begin; j < end; ++j) {
    const std::uint16_t* v = v_tiles[j / args.block_size] + j % args.block_size * args.head_dim + d;
    const __m256 weight = _mm256_broadcast_ss(p + j);
    KVTAPE_EACH(c, C) acc[c] = _mm256_fmadd_ps(weight, load8_f16(v + 8 * c), acc[c]);
  }
}

// Elements [d, d + 8 C) of the rows' o, folded into the state. What all rows see is read once for all of them; what only
// some see, on the diagonal and at the begin of a window, row by row.
template <std::size_t R, std::size_t C>
inline void value_chunk(const Block& block, const AttendArgs& args, const std::uint16_t* const* v_tiles,
                        const std::uint16_t* const* k_soon, std::size_t d) noexcept {
  constexpr std::size_t kLines = R <= kFewRows ? C / 4 : 0;  // of K, for each of V's 128 positions
  __m256 acc[R][C];
  clear(acc);
  if (block.begin < block.common_begin) {
    KVTAPE_EACH(r, R) {
      const std::size_t end = block.n_visible[r] < block.common_begin ? block.n_visible[r] : block.common_begin;
      add_values(acc[r], block.p[r], args, v_tiles, d, block.first_visible[r], end);
    }
  }
  for (std::size_t begin = block.common_begin, n; begin < block.common_end; begin += n) {
    n = args.block_size - begin % args.block_size;
    if (n > block.common_end - begin) n = block.common_end - begin;
    const float* p[R];
    KVTAPE_EACH(r, R) p[r] = block.p[r] + begin;
    const std::uint16_t* v = v_tiles[begin / args.block_size] + begin % args.block_size * args.head_dim + d;
    const std::uint16_t* soon = lines_of<kLines>(k_soon, args, d, begin, v);
    for (std::size_t j = 0; j < n; ++j, v += args.head_dim) {
      KVTAPE_EACH(i, kLines) prefetch_line(soon, kLines * j + i);
      multiply_add(acc, p, j, v);
    }
  }
  KVTAPE_EACH(r, R) {
    add_values(acc[r], block.p[r], args, v_tiles, d, block.common_end, block.n_visible[r]);
    float* o = args.state.o + block.row[r] * args.head_dim + d;
    if (!block.was_empty[r]) {
      const __m256 keep = _mm256_set1_ps(block.keep[r]), add = _mm256_set1_ps(block.add[r]);
      KVTAPE_EACH(c, C) acc[r][c] = _mm256_fmadd_ps(acc[r][c], add, _mm256_mul_ps(_mm256_loadu_ps(o + 8 * c), keep));
    }
    KVTAPE_EACH(c, C) _mm256_storeu_ps(o + 8 * c, acc[r][c]);
  }
}

template <std::size_t R>
void attend_block(Block& block, const AttendArgs& args, const std::uint16_t* const* k_tiles,
                  const std::uint16_t* const* v_tiles, const std::uint16_t* const* k_soon) noexcept {
  constexpr std::size_t kScoreVectors = R <= kFewRows ? 4 : 2;  // 32 or 16 positions: never over the end of a tile
  const std::size_t first_chunk = block.begin / (8 * kScoreVectors) * (8 * kScoreVectors);
  for (std::size_t j = first_chunk; j < block.end; j += 8 * kScoreVectors) {
    const std::uint16_t* k = k_tiles[j / args.block_size] + j % args.block_size;
    const std::uint16_t* v = v_tiles[j / args.block_size] + j % args.block_size * args.head_dim;
    score_chunk<R, kScoreVectors>(block, args, k, v, j);
  }
  for (std::size_t r = 0; r < R; ++r) {
    softmax_row(block.p[r], block.first_visible[r], block.n_visible[r], block.m + r, block.l + r);
  }
  fold_sums(block, args.state);
  constexpr std::size_t kValueVectors = R == 1 ? 8 : R <= kFewRows ? 4 : 2;
  std::size_t d = 0;
  for (; d + 8 * kValueVectors <= args.head_dim; d += 8 * kValueVectors) {
    value_chunk<R, kValueVectors>(block, args, v_tiles, k_soon, d);
  }
  for (; d < args.head_dim; d += 8) value_chunk<R, 1>(block, args, v_tiles, k_soon, d);
}

using AttendBlock = void(Block&, const AttendArgs&, const std::uint16_t* const*, const std::uint16_t* const*,
                         const std::uint16_t* const*) noexcept;
constexpr AttendBlock* kAttendBlock[kBlockRows] = {attend_block<1>, attend_block<2>, attend_block<3>,
                                                   attend_block<4>, attend_block<5>, attend_block<6>};

}  // namespace

void attend(const AttendArgs& args) noexcept {
  const std::size_t tiles_per_partition = kPartitionLen / args.block_size;
  for (std::size_t i = 0; i < args.n_partitions; ++i) {
    const std::int32_t* n_visible = args.n_visible + i * args.n_rows;
    const std::int32_t* first_visible = args.first_visible == nullptr ? nullptr : args.first_visible + i * args.n_rows;
    const std::uint16_t* const* k_tiles = args.k_tiles + i * tiles_per_partition;
    const std::uint16_t* const* v_tiles = args.v_tiles + i * tiles_per_partition;
    const std::uint16_t* const* k_soon = i + 1 < args.n_partitions ? k_tiles + tiles_per_partition : k_tiles;
    std::size_t r = 0;
    while (r < args.n_rows) {
      Block block;
      for (; r < args.n_rows && block.n_rows < kBlockRows; ++r) {
        const auto first = static_cast<std::size_t>(first_visible == nullptr ? 0 : first_visible[r]);
        const auto n = static_cast<std::size_t>(n_visible[r]);
        if (first == n) continue;
        block.row[block.n_rows] = r;
        block.q[block.n_rows] = args.q[r];
        block.first_visible[block.n_rows] = first;
        block.n_visible[block.n_rows++] = n;
        if (first < block.begin) block.begin = first;
        if (n > block.end) block.end = n;
        if (first > block.common_begin) block.common_begin = first;
        if (n < block.common_end) block.common_end = n;
      }
      if (block.common_end < block.common_begin) block.common_end = block.common_begin;
      if (block.n_rows > 0) kAttendBlock[block.n_rows - 1](block, args, k_tiles, v_tiles, k_soon);
    }
  }
}

}  // namespace kvtape::kernels::avx2
