#include "kernels/rope/rope.h"

#include <immintrin.h>

#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

// Both loops are bound by loads and stores: of 8 pairs, 4 loads, 2 stores, 2 products, 2 FMAs and 1 sign flip (xor; the
// fmsub form has the same bits), and for interleaved pairs 4 shuffles more.

// a' = fma(a, c, -(b * s)), b' = fma(a, s, b * c)
inline void rotate8(__m256& a, __m256& b, __m256 c, __m256 s) {
  const __m256 turned_a = _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s));
  b = _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c));
  a = turned_a;
}

inline void rotate_scalar(float& a, float& b, float c, float s) {
  const float turned_a = __builtin_fmaf(a, c, -(b * s));
  b = __builtin_fmaf(a, s, b * c);
  a = turned_a;
}

}  // namespace

void rope_pairs(const RopeArgs& args) noexcept {
  const size_t half = args.head_dim / 2;
  for (size_t r = 0; r < args.n_rows; ++r) {
    const float* cos = args.cos + static_cast<size_t>(args.positions[r]) * half;
    const float* sin = args.sin + static_cast<size_t>(args.positions[r]) * half;
    for (size_t h = 0; h < args.n_heads; ++h) {
      float* x = args.x + r * args.x_stride + h * args.head_dim;
      size_t i = 0;
      for (; i + 8 <= half; i += 8) {
        // Shuffles inside 128-bit halves give pairs 0 1 4 5 2 3 6 7; cos and sin are brought into the same order.
        const __m256 v0 = _mm256_loadu_ps(x + 2 * i), v1 = _mm256_loadu_ps(x + 2 * i + 8);
        __m256 a = _mm256_shuffle_ps(v0, v1, _MM_SHUFFLE(2, 0, 2, 0));
        __m256 b = _mm256_shuffle_ps(v0, v1, _MM_SHUFFLE(3, 1, 3, 1));
        const __m256d c = _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_loadu_ps(cos + i)), _MM_SHUFFLE(3, 1, 2, 0));
        const __m256d s = _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_loadu_ps(sin + i)), _MM_SHUFFLE(3, 1, 2, 0));
        rotate8(a, b, _mm256_castpd_ps(c), _mm256_castpd_ps(s));
        _mm256_storeu_ps(x + 2 * i, _mm256_unpacklo_ps(a, b));
        _mm256_storeu_ps(x + 2 * i + 8, _mm256_unpackhi_ps(a, b));
      }
      for (; i < half; ++i) rotate_scalar(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
    }
  }
}

void rope_halves(const RopeArgs& args) noexcept {
  const size_t half = args.head_dim / 2;
  for (size_t r = 0; r < args.n_rows; ++r) {
    const float* cos = args.cos + static_cast<size_t>(args.positions[r]) * half;
    const float* sin = args.sin + static_cast<size_t>(args.positions[r]) * half;
    for (size_t h = 0; h < args.n_heads; ++h) {
      float* x = args.x + r * args.x_stride + h * args.head_dim;
      size_t i = 0;
      for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + half);
        rotate8(a, b, _mm256_loadu_ps(cos + i), _mm256_loadu_ps(sin + i));
        _mm256_storeu_ps(x + i, a);
        _mm256_storeu_ps(x + i + half, b);
      }
      for (; i < half; ++i) rotate_scalar(x[i], x[i + half], cos[i], sin[i]);
    }
  }
}

}  // namespace kvtape::kernels::avx2
