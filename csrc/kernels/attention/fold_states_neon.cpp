#include "kernels/attention/fold_states.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

void fold_states(const AttentionState& into, const AttentionState& from, std::size_t n_rows,
                 std::size_t head_dim) noexcept {
  for (std::size_t r = 0; r < n_rows; ++r) {
    if (from.l[r] == 0.0f) continue;
    float* o = into.o + r * head_dim;
    const float* o_from = from.o + r * head_dim;
    if (into.l[r] == 0.0f) {
      into.m[r] = from.m[r];
      into.l[r] = from.l[r];
      memcpy(o, o_from, head_dim * sizeof(float));
      continue;
    }
    const float m = from.m[r] > into.m[r] ? from.m[r] : into.m[r];
    const float x = exp_f32(into.m[r] - m);
    const float y = exp_f32(from.m[r] - m);
    into.m[r] = m;
    into.l[r] = __builtin_fmaf(from.l[r], y, into.l[r] * x);
    for (std::size_t d = 0; d < head_dim; d += 4) {
      vst1q_f32(o + d, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(o + d), x), vld1q_f32(o_from + d), y));
    }
  }
}

}  // namespace kvtape::kernels::neon
