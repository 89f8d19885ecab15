#pragma once
// attend.h over vectors of `Lanes`, included by the file of each instruction set. Rows are worked on in blocks that share
// every load and conversion of K and V.
//
// A row over a partition costs 256 * head_dim multiply-adds, 128 exponentials, and 512 * head_dim bytes of f16 (272 *
// head_dim of q8_0), shared with the other rows that the caller brings. With 3 rows (one token of a 3-fold grouped model)
// that is 1.5 multiply-adds a byte of f16, and memory is the bound. With more rows the FMA units are: the KV of a
// partition (128 KiB at most, 32 KiB of f16 at head_dim 64) comes from L1 or L2 for every block but the first.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention/attend.h"
#include "kernels/numerics.h"

namespace kvtape::kernels {
namespace {

// Up to kFewRows rows are bound by memory. They take 32 positions or elements at a time, to have chains enough.
constexpr std::size_t kFewRows = 3;
constexpr std::size_t kChunk = 32;

constexpr std::size_t kExpsAtOnce = 4;  // vectors

// A loop over a block's rows or vectors. Unrolled early, or GCC keeps the arrays of accumulators in memory.
#define KVTAPE_EACH(i, n) _Pragma("GCC unroll 16") for (std::size_t i = 0; i < (n); ++i)

struct F16 {
  using Element = std::uint16_t;
  static constexpr bool kScaled = false;
};
struct Q8_0 {
  using Element = std::int8_t;
  static constexpr bool kScaled = true;
};

template <class Lanes, std::size_t kRows>
struct Block {  // rows that see something of one partition
  static constexpr std::size_t kSlots = (kRows + 15) / 16 * 16;
  std::size_t n_rows = 0;
  std::size_t row[kRows];                   // index into the caller's rows
  alignas(64) float q[kRows][kMaxHeadDim];  // a copy: rows a constant apart need one register, not kRows
  std::size_t first_visible[kRows], n_visible[kRows];
  std::size_t begin = kPartitionLen, end = 0;                // what any row sees
  std::size_t common_begin = 0, common_end = kPartitionLen;  // what all rows see; empty from common_begin on if nothing
  alignas(64) float p[kRows][kPartitionLen];                 // scores, then their exponentials
  alignas(64) float w[kRows][kPartitionLen];                 // these times the scales of a block of V, where it has any
  alignas(64) float m[kSlots] = {}, l[kSlots] = {};          // of the partition
  alignas(64) float keep[kSlots], add[kSlots];               // factors of the state's o and of the partition's o
  bool was_empty[kRows];                                     // the state: the partition's o is taken as it is
};

// What a block reads, and the lines to fetch meanwhile.
//
// With few rows a partition is bound by memory, and its tiles are too short for the hardware's prefetcher to learn. So
// while K is read the lines of V are fetched, and while V is read those of the next partition's K, one for one. Into L2:
// L1 has too few fill buffers. (Tiles of 4 KiB read in the pool's order on two Zen 4 cores: 27 GB/s without, 26 into L1,
// 37 into L2; one long array 33.)
template <class Kv>
struct Tiles {
  using Element = typename Kv::Element;
  const std::byte* const* k;
  const std::byte* const* v;
  const std::byte* const* k_soon;  // of the next partition
  std::size_t head_dim, block_size;
  int shift;         // block_size is 1 << shift: a division would cost more than the vectors it finds
  std::size_t unit;  // bytes of a tile for each 32 elements of a position, its share of the scales among them

  std::size_t tile(std::size_t j) const noexcept { return j >> shift; }
  std::size_t slot(std::size_t j) const noexcept { return j & (block_size - 1); }
  const Element* k_at(std::size_t j) const noexcept { return reinterpret_cast<const Element*>(k[tile(j)]) + slot(j); }
  const Element* v_at(std::size_t j, std::size_t d) const noexcept {
    return reinterpret_cast<const Element*>(v[tile(j)]) + slot(j) * head_dim + d;
  }
  // Scales of elements b * kBlockLen on, of positions j on.
  const std::uint16_t* scales(const std::byte* const* tiles, std::size_t b, std::size_t j) const noexcept {
    const std::byte* scales = tiles[tile(j)] + head_dim * block_size;
    return reinterpret_cast<const std::uint16_t*>(scales) + b * block_size + slot(j);
  }
};

inline void prefetch(const std::byte* p) noexcept { __builtin_prefetch(p, 0, 2); }

template <class L, std::size_t R, std::size_t C>
inline void clear(typename L::Vec (&acc)[R][C]) noexcept {
  KVTAPE_EACH(r, R) KVTAPE_EACH(c, C) acc[r][c] = L::zero();
}

// acc[r][c] += a[r][i] * b[kWidth c .. kWidth (c + 1))
template <class L, std::size_t R, std::size_t C, class Element>
inline void multiply_add(typename L::Vec (&acc)[R][C], const float* const (&a)[R], std::size_t i,
                         const Element* b) noexcept {
  if constexpr (C > R) {  // the fewer operands stay in registers
    typename L::Vec rows[R];
    KVTAPE_EACH(r, R) rows[r] = L::all(a[r][i]);
    KVTAPE_EACH(c, C) {
      const typename L::Vec column = L::load(b + L::kWidth * c);
      KVTAPE_EACH(r, R) acc[r][c] = L::fma(rows[r], column, acc[r][c]);
    }
  } else {
    typename L::Vec columns[C];
    KVTAPE_EACH(c, C) columns[c] = L::load(b + L::kWidth * c);
    KVTAPE_EACH(r, R) {
      const typename L::Scalar row = L::scalar(a[r] + i);
      KVTAPE_EACH(c, C) acc[r][c] = L::fma(row, columns[c], acc[r][c]);
    }
  }
}

// block.p[r][j .. j + kWidth C) = scale * q[r] . k, for the positions from j on, which are in one tile.
template <class L, class Kv, std::size_t R, std::size_t C, class B>
inline void score_chunk(B& block, const Tiles<Kv>& tiles, float scale, std::size_t j) noexcept {
  const typename Kv::Element* k = tiles.k_at(j);
  const std::byte* v_soon = tiles.v[tiles.tile(j)] + tiles.slot(j) / kChunk * tiles.head_dim * tiles.unit;
  const float* q[R];
  KVTAPE_EACH(r, R) q[r] = block.q[r];
  typename L::Vec acc[R][C];
  const auto add_dots = [&](std::size_t d, std::size_t end) {
    for (; d < end; ++d, k += tiles.block_size) {
      if constexpr (R <= kFewRows) prefetch(v_soon + d * tiles.unit);
      multiply_add<L>(acc, q, d, k);
    }
  };
  clear<L>(acc);
  if constexpr (!Kv::kScaled) {
    add_dots(0, tiles.head_dim);
  } else {
    KVTAPE_EACH(r, R) KVTAPE_EACH(c, C) L::store(block.p[r] + j + L::kWidth * c, L::zero());
    for (std::size_t d = 0; d < tiles.head_dim; d += kBlockLen) {
      add_dots(d, tiles.head_dim - d < kBlockLen ? tiles.head_dim : d + kBlockLen);
      const std::uint16_t* scales = tiles.scales(tiles.k, d / kBlockLen, j);
      KVTAPE_EACH(c, C) {
        const typename L::Vec of_block = L::load(scales + L::kWidth * c);
        KVTAPE_EACH(r, R) {
          float* p = block.p[r] + j + L::kWidth * c;
          L::store(p, L::fma(acc[r][c], of_block, L::load(p)));
        }
      }
      clear<L>(acc);
    }
    KVTAPE_EACH(r, R) KVTAPE_EACH(c, C) acc[r][c] = L::load(block.p[r] + j + L::kWidth * c);
  }
  KVTAPE_EACH(r, R) KVTAPE_EACH(c, C) L::store(block.p[r] + j + L::kWidth * c, L::mul(acc[r][c], L::all(scale)));
}

// kVecs vectors of p from s to exp_f32(s - m), and their sum.
template <class L, std::size_t kVecs, std::size_t kSums>
inline void add_exps(float* p, typename L::Vec m, typename L::Vec (&sums)[kSums]) noexcept {
  typename L::Vec e[kVecs];
  KVTAPE_EACH(i, kVecs) e[i] = L::sub(L::load(p + L::kWidth * i), m);
  L::exp(e);
  KVTAPE_EACH(i, kVecs) {
    sums[i % kSums] = L::add(sums[i % kSums], e[i]);
    L::store(p + L::kWidth * i, e[i]);
  }
}

// Scores to exponentials, with their maximum and sum, in two passes over the rows: what ends a row's pass, across lanes, is
// a chain that the next row's pass can hide. Unseen scores beside seen ones become -inf, so they add +0 to the lanes.
template <class L, class B>
inline void softmax(B& block) noexcept {
  using Vec = typename L::Vec;
  constexpr std::size_t W = L::kWidth;
  const auto begin = [&](std::size_t r) { return block.first_visible[r] / kReduceLanes * kReduceLanes; };
  const auto end = [&](std::size_t r) { return (block.n_visible[r] + kReduceLanes - 1) / kReduceLanes * kReduceLanes; };
  const Vec lowest = L::all(-__builtin_inff());
  for (std::size_t r = 0; r < block.n_rows; ++r) {
    float* p = block.p[r];
    const std::size_t first_visible = block.first_visible[r], n_visible = block.n_visible[r];
    for (std::size_t j = begin(r); j < first_visible; j += W) {
      L::store(p + j, L::first(first_visible - j, lowest, L::load(p + j)));
    }
    for (std::size_t j = n_visible / kReduceLanes * kReduceLanes; j < end(r); j += W) {
      L::store(p + j, L::first(n_visible <= j ? 0 : n_visible - j, L::load(p + j), lowest));
    }
    Vec most = lowest;
    for (std::size_t j = begin(r); j < end(r); j += W) most = L::max(L::load(p + j), most);
    block.m[r] = L::largest(most) + 0.0f;
  }
  for (std::size_t r = 0; r < block.n_rows; ++r) {
    const Vec m = L::all(block.m[r]);
    Vec sums[kReduceLanes / W];
    KVTAPE_EACH(i, kReduceLanes / W) sums[i] = L::zero();
    std::size_t j = begin(r);
    for (; j + kExpsAtOnce * W <= end(r); j += kExpsAtOnce * W) add_exps<L, kExpsAtOnce>(block.p[r] + j, m, sums);
    for (; j < end(r); j += kReduceLanes) add_exps<L, kReduceLanes / W>(block.p[r] + j, m, sums);
    block.l[r] = L::reduce(sums);
  }
}

// Folds m and l of the block's rows into the state, and leaves what value_chunk needs to fold o.
template <class L, class B>
inline void fold_sums(B& block, const AttentionState& state) noexcept {
  using Vec = typename L::Vec;
  alignas(64) float m_state[B::kSlots] = {}, l_state[B::kSlots] = {}, l_new[B::kSlots];
  for (std::size_t r = 0; r < block.n_rows; ++r) {
    m_state[r] = state.m[block.row[r]];
    l_state[r] = state.l[block.row[r]];
  }
  for (std::size_t i = 0; i < block.n_rows; i += L::kWidth) {
    const Vec m_a = L::load(m_state + i), m_b = L::load(block.m + i), m = L::max(m_b, m_a);
    Vec e[2] = {L::sub(m_a, m), L::sub(m_b, m)};
    L::exp(e);
    L::store(block.keep + i, e[0]);
    L::store(block.add + i, e[1]);
    L::store(m_state + i, m);
    L::store(l_new + i, L::fma(L::load(block.l + i), e[1], L::mul(L::load(l_state + i), e[0])));
  }
  for (std::size_t r = 0; r < block.n_rows; ++r) {
    const bool empty = block.was_empty[r] = l_state[r] == 0.0f;
    state.m[block.row[r]] = empty ? block.m[r] : m_state[r];
    state.l[block.row[r]] = empty ? block.l[r] : l_new[r];
  }
}

// block.w = p times the scales of V's elements b * kBlockLen on. Vectors may begin before and end after what a row sees.
template <class L, class Kv, std::size_t R, class B>
inline void scale_weights(B& block, const Tiles<Kv>& tiles, std::size_t b) noexcept {
  for (std::size_t j = block.begin / L::kWidth * L::kWidth; j < block.end; j += L::kWidth) {
    const typename L::Vec scales = L::load(tiles.scales(tiles.v, b, j));
    KVTAPE_EACH(r, R) L::store(block.w[r] + j, L::mul(L::load(block.p[r] + j), scales));
  }
}

// acc += w[j] * v[j][d .. d + kWidth C) over positions [begin, end), for one row.
template <class L, std::size_t C, class Kv>
inline void add_values(typename L::Vec (&acc)[C], const float* w, const Tiles<Kv>& tiles, std::size_t d,
                       std::size_t begin, std::size_t end) noexcept {
  for (std::size_t j = begin; j < end; ++j) {
    const typename Kv::Element* v = tiles.v_at(j, d);
    const typename L::Vec weight = L::all(w[j]);
    KVTAPE_EACH(c, C) acc[c] = L::fma(weight, L::load(v + L::kWidth * c), acc[c]);
  }
}

// Elements [d, d + kWidth C) of the rows' o, folded into the state. What all rows see is read once for all of them; what
// only some see, on the diagonal and at the begin of a window, row by row.
template <class L, class Kv, std::size_t R, std::size_t C, class B>
inline void value_chunk(const B& block, const Tiles<Kv>& tiles, const AttentionState& state, std::size_t d) noexcept {
  const float* w[R];
  KVTAPE_EACH(r, R) w[r] = Kv::kScaled ? block.w[r] : block.p[r];
  typename L::Vec acc[R][C];
  clear<L>(acc);
  if (block.begin < block.common_begin) {
    KVTAPE_EACH(r, R) {
      const std::size_t end = block.n_visible[r] < block.common_begin ? block.n_visible[r] : block.common_begin;
      add_values<L>(acc[r], w[r], tiles, d, block.first_visible[r], end);
    }
  }
  for (std::size_t j = block.common_begin, n; j < block.common_end; j += n) {
    const std::size_t in_tile = tiles.slot(j);
    n = tiles.block_size - in_tile;
    if (n > block.common_end - j) n = block.common_end - j;
    const typename Kv::Element* v = tiles.v_at(j, d);
    // While 32 elements of V are done, their share of the next partition's K is fetched, one unit for each position.
    const std::byte* soon = tiles.k_soon[tiles.tile(j)];
    soon = (soon == nullptr ? tiles.v[tiles.tile(j)] : soon) + (d / kChunk * tiles.block_size + in_tile) * tiles.unit;
    const float* a[R];
    KVTAPE_EACH(r, R) a[r] = w[r] + j;
    for (std::size_t i = 0; i < n; ++i, v += tiles.head_dim) {
      if constexpr (R <= kFewRows && C * L::kWidth == kChunk) prefetch(soon + i * tiles.unit);
      multiply_add<L>(acc, a, i, v);
    }
  }
  KVTAPE_EACH(r, R) {
    add_values<L>(acc[r], w[r], tiles, d, block.common_end, block.n_visible[r]);
    float* o = state.o + block.row[r] * tiles.head_dim + d;
    if (!block.was_empty[r]) {
      const typename L::Vec keep = L::all(block.keep[r]), add = L::all(block.add[r]);
      KVTAPE_EACH(c, C) { acc[r][c] = L::fma(acc[r][c], add, L::mul(L::load(o + L::kWidth * c), keep)); }
    }
    KVTAPE_EACH(c, C) L::store(o + L::kWidth * c, acc[r][c]);
  }
}

// L: the vectors; Tail: 8 lanes, for elements of a position that are too few for L; kManyVectors: of K or V at a time where
// there are more than kFewRows rows.
template <class L, class Tail, class Kv, std::size_t R, std::size_t kManyVectors, class B>
[[gnu::noinline]] void attend_block(B& block, const Tiles<Kv>& tiles, float scale,
                                    const AttentionState& state) noexcept {
  constexpr std::size_t C = R <= kFewRows ? kChunk / L::kWidth : kManyVectors, kWide = C * L::kWidth;
  static_assert(kChunk % kWide == 0, "a chunk is in one tile and in one block of scales");
  for (std::size_t j = block.begin / kWide * kWide; j < block.end; j += kWide) {
    score_chunk<L, Kv, R, C>(block, tiles, scale, j);
  }
  softmax<L>(block);
  fold_sums<L>(block, state);
  for (std::size_t d = 0; d < tiles.head_dim;) {
    if constexpr (Kv::kScaled) {
      if (d % kBlockLen == 0) scale_weights<L, Kv, R>(block, tiles, d / kBlockLen);
    }
    if (tiles.head_dim - d >= kWide) {
      value_chunk<L, Kv, R, C>(block, tiles, state, d);
      d += kWide;
    } else {
      value_chunk<Tail, Kv, R, 1>(block, tiles, state, d);
      d += Tail::kWidth;
    }
  }
}

// Calls attend_block for the block's number of rows, which is R at most.
template <class L, class Tail, class Kv, std::size_t R, std::size_t kManyVectors, class B>
inline void attend_any(B& block, const Tiles<Kv>& tiles, float scale, const AttentionState& state) noexcept {
  if (block.n_rows == R) return attend_block<L, Tail, Kv, R, kManyVectors>(block, tiles, scale, state);
  if constexpr (R > 1) attend_any<L, Tail, Kv, R - 1, kManyVectors>(block, tiles, scale, state);
}

// kRows: the most rows of a block.
template <class L, class Tail, class Kv, std::size_t kRows, std::size_t kManyVectors>
void attend_blocks(const AttendArgs& args) noexcept {
  const std::size_t tiles_per_partition = kPartitionLen / args.block_size;
  const KvType type = Kv::kScaled ? KvType::q8_0 : KvType::f16;
  const std::size_t tile_bytes = kv_tile_bytes(type, args.head_dim, args.block_size);
  const std::size_t elems = args.head_dim * args.block_size;
  for (std::size_t i = 0; i < args.n_partitions; ++i) {
    const std::int32_t* n_visible = args.n_visible + i * args.n_rows;
    const std::int32_t* first_visible = args.first_visible == nullptr ? nullptr : args.first_visible + i * args.n_rows;
    const std::byte* const* k_tiles = args.k_tiles + i * tiles_per_partition;
    const Tiles<Kv> tiles{.k = k_tiles,
                          .v = args.v_tiles + i * tiles_per_partition,
                          .k_soon = i + 1 < args.n_partitions ? k_tiles + tiles_per_partition : k_tiles,
                          .head_dim = args.head_dim,
                          .block_size = args.block_size,
                          .shift = __builtin_ctzll(args.block_size),
                          .unit = (kChunk * tile_bytes + elems - 1) / elems};
    std::size_t r = 0;
    while (r < args.n_rows) {
      Block<L, kRows> block;
      for (; r < args.n_rows && block.n_rows < kRows; ++r) {
        const auto first = static_cast<std::size_t>(first_visible == nullptr ? 0 : first_visible[r]);
        const auto n = static_cast<std::size_t>(n_visible[r]);
        if (first == n) continue;
        block.row[block.n_rows] = r;
        for (std::size_t d = 0; d < args.head_dim; d += Tail::kWidth) {
          Tail::store(block.q[block.n_rows] + d, Tail::load(args.q[r] + d));
        }
        block.first_visible[block.n_rows] = first;
        block.n_visible[block.n_rows++] = n;
        if (first < block.begin) block.begin = first;
        if (n > block.end) block.end = n;
        if (first > block.common_begin) block.common_begin = first;
        if (n < block.common_end) block.common_end = n;
      }
      if (block.common_end < block.common_begin) block.common_end = block.common_begin;
      if (block.n_rows == 0) break;
      attend_any<L, Tail, Kv, kRows, kManyVectors>(block, tiles, args.scale, args.state);
    }
  }
}

#undef KVTAPE_EACH

}  // namespace
}  // namespace kvtape::kernels
