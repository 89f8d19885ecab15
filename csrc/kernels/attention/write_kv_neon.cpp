#include "kernels/attention/write_kv.h"

#include "kernels/linear/quantize_rows.h"
#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {
namespace {

inline uint16x4_t round4_to_f16(float32x4_t x) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); }

// Calls write(x, tile, is_k) for K and V of each head of row i.
template <class Write>
inline void each_head(const WriteKvArgs& args, KvType type, std::size_t i, Write write) {
  const std::size_t tile_bytes = kv_tile_bytes(type, args.head_dim, args.block_size);
  for (std::size_t head = 0; head < args.n_kv_heads; ++head) {
    std::byte* k_tile = args.tiles + head * tile_bytes;
    write(args.k + i * args.k_stride + head * args.head_dim, k_tile, true);
    write(args.v + i * args.v_stride + head * args.head_dim, k_tile + args.n_kv_heads * tile_bytes, false);
  }
}

// Element e of a position's K goes to k[e * block_size].
template <class Element>
inline void scatter(const Element* from, std::size_t n, Element* k, std::size_t block_size) {
  for (std::size_t e = 0; e < n; ++e) k[e * block_size] = from[e];
}

}  // namespace

void write_kv_f16(const WriteKvArgs& args) noexcept {
  for (std::size_t i = 0; i < args.n_rows; ++i) {
    const std::size_t slot = args.slot + i;
    each_head(args, KvType::f16, i, [&](const float* x, std::byte* tile, bool is_k) {
      auto* const halves = reinterpret_cast<std::uint16_t*>(tile);
      for (std::size_t d = 0; d < args.head_dim; d += 4) {
        const uint16x4_t four = round4_to_f16(vld1q_f32(x + d));
        if (is_k) {
          std::uint16_t column[4];
          vst1_u16(column, four);
          scatter(column, 4, halves + d * args.block_size + slot, args.block_size);
        } else {
          vst1_u16(halves + slot * args.head_dim + d, four);
        }
      }
    });
  }
}

void write_kv_q8_0(const WriteKvArgs& args) noexcept {
  constexpr std::size_t kMaxScales = kMaxHeadDim / kBlockLen;
  const std::size_t head_dim = args.head_dim, n_scales = kv_scales(head_dim), width = n_scales * kBlockLen;
  float padded[kMaxHeadDim] = {};  // zeros change neither the largest magnitude nor another element
  for (std::size_t i = 0; i < args.n_rows; ++i) {
    const std::size_t slot = args.slot + i;
    each_head(args, KvType::q8_0, i, [&](const float* x, std::byte* tile, bool is_k) {
      std::int8_t q[kMaxHeadDim];
      float d[kMaxScales], s[kMaxScales];
      std::int32_t sum[kMaxScales];
      std::int16_t half[2 * kMaxScales];
      memcpy(padded, x, head_dim * sizeof(float));
      quantize_rows(padded, width, 1, width, {q, d, s, sum, half});
      auto* const elements = reinterpret_cast<std::int8_t*>(tile);
      auto* const scales = reinterpret_cast<std::uint16_t*>(tile + head_dim * args.block_size) + slot;
      for (std::size_t b = 0; b < n_scales; ++b) {
        scales[b * args.block_size] = vget_lane_u16(round4_to_f16(vdupq_n_f32(d[b])), 0);
      }
      if (is_k) {
        scatter(q, head_dim, elements + slot, args.block_size);
      } else {
        memcpy(elements + slot * head_dim, q, head_dim);
      }
    });
  }
}

}  // namespace kvtape::kernels::neon
