#include "kernels/linear/matmul_tiles_neon.h"

namespace kvtape::kernels::neon {
namespace {

struct Q6_K {
  static constexpr size_t kBlockBytes = 26, kRowLen = 256, kRowBytes = 2 + 8 * kBlockBytes;
  static constexpr bool kWithMinimum = false;

  const std::byte *super, *block;

  Q6_K(const std::byte* tile, size_t b)
      : super(tile + b / 8 * kRowBytes * kTileRows), block(super + (2 + b % 8 * kBlockBytes) * kTileRows) {}

  // dot[t] = Σ (n - 32) * q of the 16 columns of part `part`: at most 16 * 32 * 127.
  template <size_t part, int T>
  inline void dot_part(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const {
    int32_t zero[T];
    for (int t = 0; t < T; ++t) zero[t] = 32 * x.half[2 * (t * (n_cols / kBlockLen) + b) + part];
    start_dots<T>(dot, zero);
    add_part<6, part, T>(block, x.q + b * kBlockLen, n_cols, dot);
  }

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const {
    int32x4_t other[T][kVectors];
    dot_part<0, T>(x, b, n_cols, dot);
    dot_part<1, T>(x, b, n_cols, other);
    for (size_t h = 0; h < kVectors; ++h) {
      const auto* pairs = reinterpret_cast<const int8_t*>(block + 24 * kTileRows + 8 * h);  // sc_0, sc_1 of each row
      const int16x8_t sc = vmovl_s8(vld1_s8(pairs));
      const int32x4_t sc_0 = vmovl_s16(vget_low_s16(vuzp1q_s16(sc, sc)));
      const int32x4_t sc_1 = vmovl_s16(vget_low_s16(vuzp2q_s16(sc, sc)));
      for (int t = 0; t < T; ++t) dot[t][h] = vmlaq_s32(vmulq_s32(dot[t][h], sc_0), other[t][h], sc_1);
    }
  }

  inline float32x4_t scale(size_t h) const { return load4_f16(super + 8 * h); }
  inline float32x4_t minimum(size_t) const { return vdupq_n_f32(0.0f); }
};

}  // namespace

void matmul_q6_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q6_K>(w, x, range);
}

}  // namespace kvtape::kernels::neon
