#include "kernels/activation/softcap.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {
namespace {

// Four tanh_f32, bit for bit: both of its forms, and a choice.
inline float32x4_t tanh4(float32x4_t x) {
  const float32x4_t a = vabsq_f32(x), square = vmulq_f32(a, a), one = vdupq_n_f32(1.0f);
  float32x4_t p = vdupq_n_f32(kTanhSeries[4]);
  for (int i = 3; i >= 0; --i) p = vfmaq_f32(vdupq_n_f32(kTanhSeries[i]), p, square);
  const float32x4_t small = vfmaq_f32(a, vmulq_f32(a, square), p);
  const float32x4_t e = vaddq_f32(exp4(vaddq_f32(a, a)), one);
  const float32x4_t large = vsubq_f32(one, vdivq_f32(vdupq_n_f32(2.0f), e));
  const float32x4_t y = vbslq_f32(vcltq_f32(a, vdupq_n_f32(kTanhSmall)), small, large);
  return vbslq_f32(vdupq_n_u32(0x80000000u), x, y);  // the sign of x
}

}  // namespace

void softcap(float* x, size_t n, float cap) noexcept {
  const float32x4_t caps = vdupq_n_f32(cap);
  for (size_t i = 0; i < n; i += 4) {
    const float32x4_t capped = vmulq_f32(tanh4(vdivq_f32(load_first(x + i, n - i), caps)), caps);
    store_first(x + i, capped, n - i);
  }
}

}  // namespace kvtape::kernels::neon
