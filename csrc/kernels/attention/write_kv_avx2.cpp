#include "kernels/attention/write_kv.h"

#include <immintrin.h>
#include <string.h>

#include "kernels/linear/quantize_rows.h"
#include "kernels/numerics.h"

namespace kvtape::kernels::avx2 {
namespace {

constexpr std::size_t kRows = 8;  // tokens that are transposed together

inline __m128i round_to_f16(const float* x) noexcept {
  return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline void store16(void* p, __m128i x) noexcept { _mm_storeu_si128(static_cast<__m128i*>(p), x); }

// Columns 0 to 7 of 8 rows of 8 halves, to rows that lie `stride` halves apart.
inline void transpose_f16(const __m128i (&row)[kRows], std::uint16_t* out, std::size_t stride) noexcept {
  __m128i two[8], four[8];  // two[2 i]: columns 0-3 of rows 2 i and 2 i + 1, by pairs; two[2 i + 1]: columns 4-7
  for (int i = 0; i < 4; ++i) {
    two[2 * i] = _mm_unpacklo_epi16(row[2 * i], row[2 * i + 1]);
    two[2 * i + 1] = _mm_unpackhi_epi16(row[2 * i], row[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {  // rows 4 i to 4 i + 3: two columns in each
    four[4 * i] = _mm_unpacklo_epi32(two[4 * i], two[4 * i + 2]);
    four[4 * i + 1] = _mm_unpackhi_epi32(two[4 * i], two[4 * i + 2]);
    four[4 * i + 2] = _mm_unpacklo_epi32(two[4 * i + 1], two[4 * i + 3]);
    four[4 * i + 3] = _mm_unpackhi_epi32(two[4 * i + 1], two[4 * i + 3]);
  }
  for (std::size_t c = 0; c < 4; ++c) {
    store16(out + 2 * c * stride, _mm_unpacklo_epi64(four[c], four[c + 4]));
    store16(out + (2 * c + 1) * stride, _mm_unpackhi_epi64(four[c], four[c + 4]));
  }
}

// The same of bytes. row: 8 bytes of each, row_stride apart.
inline void transpose_int8(const std::int8_t* row, std::size_t row_stride, std::int8_t* out,
                           std::size_t stride) noexcept {
  __m128i two[4];  // rows 2 i and 2 i + 1, by pairs
  for (std::size_t i = 0; i < 4; ++i) {
    const auto* first = reinterpret_cast<const __m128i*>(row + 2 * i * row_stride);
    const auto* second = reinterpret_cast<const __m128i*>(row + (2 * i + 1) * row_stride);
    two[i] = _mm_unpacklo_epi8(_mm_loadl_epi64(first), _mm_loadl_epi64(second));
  }
  const __m128i four[4] = {_mm_unpacklo_epi16(two[0], two[1]), _mm_unpackhi_epi16(two[0], two[1]),
                           _mm_unpacklo_epi16(two[2], two[3]), _mm_unpackhi_epi16(two[2], two[3])};
  for (std::size_t c = 0; c < 4; ++c) {  // columns 2 c and 2 c + 1
    const __m128i low = four[c / 2], high = four[c / 2 + 2];
    const __m128i eight = c % 2 == 0 ? _mm_unpacklo_epi32(low, high) : _mm_unpackhi_epi32(low, high);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 2 * c * stride), eight);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + (2 * c + 1) * stride), _mm_unpackhi_epi64(eight, eight));
  }
}

// Quantises n_rows rows of one head, `width` elements each. q: [n_rows, width]; the scales go to scales[b * step + row].
void quantize(const float* x, std::size_t x_stride, std::size_t n_rows, std::size_t head_dim, std::int8_t* q,
              std::uint16_t* scales, std::size_t step) noexcept {
  const std::size_t n_scales = kv_scales(head_dim), width = n_scales * kBlockLen;
  constexpr std::size_t kMaxScales = kRows * kMaxHeadDim / kBlockLen;
  float padded[kRows * kMaxHeadDim], d[kMaxScales], s[kMaxScales];
  std::int32_t sum[kMaxScales];
  std::int16_t half[2 * kMaxScales];
  if (width != head_dim) {  // zeros change neither the largest magnitude nor another element
    memset(padded, 0, n_rows * width * sizeof(float));
    for (std::size_t i = 0; i < n_rows; ++i) memcpy(padded + i * width, x + i * x_stride, head_dim * sizeof(float));
    x = padded;
    x_stride = width;
  }
  quantize_rows(x, x_stride, n_rows, width, {q, d, s, sum, half});
  for (std::size_t b = 0; b < n_scales; ++b) {
    for (std::size_t i = 0; i < n_rows; ++i) scales[b * step + i] = _cvtss_sh(d[i * n_scales + b], 0);
  }
}

}  // namespace

// 8 tokens are bound by shuffles: 3 for 8 elements of K. A token alone is bound by the stores of K: head_dim of them a
// head, each to a line of its own. V is one store of 16 bytes per 8 elements.
void write_kv_f16(const WriteKvArgs& args) noexcept {
  const std::size_t tile_elems = args.head_dim * args.block_size;
  auto* const tiles = reinterpret_cast<std::uint16_t*>(args.tiles);
  for (std::size_t head = 0; head < args.n_kv_heads; ++head) {
    const float* k = args.k + head * args.head_dim;
    const float* v = args.v + head * args.head_dim;
    std::uint16_t* k_tile = tiles + head * tile_elems + args.slot;
    std::uint16_t* v_row = tiles + (args.n_kv_heads + head) * tile_elems + args.slot * args.head_dim;
    for (std::size_t i = 0; i < args.n_rows; ++i, v_row += args.head_dim) {
      for (std::size_t d = 0; d < args.head_dim; d += 8) store16(v_row + d, round_to_f16(v + i * args.v_stride + d));
    }
    std::size_t i = 0;
    for (; i + kRows <= args.n_rows; i += kRows) {
      for (std::size_t d = 0; d < args.head_dim; d += 8) {
        __m128i row[kRows];
        for (std::size_t r = 0; r < kRows; ++r) row[r] = round_to_f16(k + (i + r) * args.k_stride + d);
        transpose_f16(row, k_tile + d * args.block_size + i, args.block_size);
      }
    }
    for (; i < args.n_rows; ++i) {
      for (std::size_t d = 0; d < args.head_dim; d += 8) {
        alignas(16) std::uint16_t column[8];
        store16(column, round_to_f16(k + i * args.k_stride + d));
        for (std::size_t e = 0; e < 8; ++e) k_tile[(d + e) * args.block_size + i] = column[e];
      }
    }
  }
}

// The quantising dominates: about 15 cycles for 32 elements (quantize_rows_avx2.cpp).
void write_kv_q8_0(const WriteKvArgs& args) noexcept {
  const std::size_t head_dim = args.head_dim, block_size = args.block_size, width = kv_scales(head_dim) * kBlockLen;
  const std::size_t tile_bytes = kv_tile_bytes(KvType::q8_0, head_dim, block_size);
  for (std::size_t head = 0; head < args.n_kv_heads; ++head) {
    auto* const k_tile = reinterpret_cast<std::int8_t*>(args.tiles + head * tile_bytes);
    auto* const v_tile = reinterpret_cast<std::int8_t*>(args.tiles + (args.n_kv_heads + head) * tile_bytes);
    const auto scales_at = [&](std::int8_t* tile, std::size_t slot) {
      return reinterpret_cast<std::uint16_t*>(tile + head_dim * block_size) + slot;
    };
    for (std::size_t i = 0, n; i < args.n_rows; i += n) {
      const std::size_t left = args.n_rows - i, slot = args.slot + i;
      n = left < kRows ? left : kRows;
      std::int8_t q[kRows * kMaxHeadDim];
      quantize(args.v + i * args.v_stride + head * head_dim, args.v_stride, n, head_dim, q, scales_at(v_tile, slot),
               block_size);
      for (std::size_t r = 0; r < n; ++r) memcpy(v_tile + (slot + r) * head_dim, q + r * width, head_dim);
      quantize(args.k + i * args.k_stride + head * head_dim, args.k_stride, n, head_dim, q, scales_at(k_tile, slot),
               block_size);
      if (n == kRows) {
        for (std::size_t d = 0; d < head_dim; d += 8) {
          transpose_int8(q + d, width, k_tile + d * block_size + slot, block_size);
        }
      } else {
        for (std::size_t r = 0; r < n; ++r) {
          for (std::size_t d = 0; d < head_dim; ++d) k_tile[d * block_size + slot + r] = q[r * width + d];
        }
      }
    }
  }
}

}  // namespace kvtape::kernels::avx2
