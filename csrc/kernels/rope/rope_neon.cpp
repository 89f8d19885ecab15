#include "kernels/rope/rope.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {
namespace {

// a' = fma(a, c, -(b * s)), b' = fma(a, s, b * c)
inline float32x4x2_t rotate4(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t s) {
  return {vfmaq_f32(vnegq_f32(vmulq_f32(b, s)), a, c), vfmaq_f32(vmulq_f32(b, c), a, s)};
}

inline void rotate_scalar(float& a, float& b, float c, float s) {
  const float turned_a = __builtin_fmaf(a, c, -(b * s));
  b = __builtin_fmaf(a, s, b * c);
  a = turned_a;
}

// Calls rotate(x, cos, sin) for each head of each row.
template <class Rotate>
inline void each_head(const RopeArgs& args, Rotate rotate) {
  for (size_t r = 0; r < args.n_rows; ++r) {
    const size_t at = static_cast<size_t>(args.positions[r]) * (args.head_dim / 2);
    for (size_t h = 0; h < args.n_heads; ++h) {
      rotate(args.x + r * args.x_stride + h * args.head_dim, args.cos + at, args.sin + at);
    }
  }
}

}  // namespace

void rope_pairs(const RopeArgs& args) noexcept {
  const size_t half = args.head_dim / 2;
  each_head(args, [half](float* x, const float* cos, const float* sin) {
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
      const float32x4x2_t pairs = vld2q_f32(x + 2 * i);
      vst2q_f32(x + 2 * i, rotate4(pairs.val[0], pairs.val[1], vld1q_f32(cos + i), vld1q_f32(sin + i)));
    }
    for (; i < half; ++i) rotate_scalar(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
  });
}

void rope_halves(const RopeArgs& args) noexcept {
  const size_t half = args.head_dim / 2;
  each_head(args, [half](float* x, const float* cos, const float* sin) {
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
      const float32x4x2_t turned =
          rotate4(vld1q_f32(x + i), vld1q_f32(x + i + half), vld1q_f32(cos + i), vld1q_f32(sin + i));
      vst1q_f32(x + i, turned.val[0]);
      vst1q_f32(x + i + half, turned.val[1]);
    }
    for (; i < half; ++i) rotate_scalar(x[i], x[i + half], cos[i], sin[i]);
  });
}

}  // namespace kvtape::kernels::neon
