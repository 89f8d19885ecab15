// exp16 and exp16_to_max equal exp_f32 bit for bit, and a NaN stays one.

#include <cstdint>
#include <initializer_list>

#include "base/cpu_features.h"
#include "check.h"

#if defined(KVTAPE_HAVE_AVX512)
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own header
#pragma GCC diagnostic ignored "-Wuninitialized"        // the same
#include "kernels/exp_avx512.h"

namespace {

using namespace kvtape::kernels;

bool equal(float found, float wanted) {
  return memcmp(&found, &wanted, sizeof wanted) == 0 || (found != found && wanted != wanted);
}

bool exps_equal(const float* x) {
  __m512 any[1] = {_mm512_loadu_ps(x)};
  exp16(any);
  __m512 to_max[2] = {any[0], _mm512_loadu_ps(x)};
  exp16_to_max(to_max);
  float found[2][16];
  _mm512_storeu_ps(found[0], any[0]);
  _mm512_storeu_ps(found[1], to_max[1]);
  for (int i = 0; i < 16; ++i) {
    const float wanted = exp_f32(x[i]);
    if (!equal(found[0][i], wanted) || (!(x[i] > kExpMax) && !equal(found[1][i], wanted))) return false;
  }
  return true;
}

// Every 61st float, and the neighbours of each limit. All 2^32 were compared once, when exp16 was written.
void exp16_equals_exp_f32() {
  std::uint64_t n_different = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 16 * 61) {
    float x[16];
    for (std::uint32_t i = 0; i < 16; ++i) {
      const std::uint32_t word = static_cast<std::uint32_t>(bits) + 61 * i;
      memcpy(x + i, &word, sizeof word);
    }
    n_different += !exps_equal(x);
  }
  CHECK(n_different == 0, "%llu vectors", static_cast<unsigned long long>(n_different));
  float around[16] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN};
  for (const float limit : {kExpMin, kExpMax}) {
    float* three = around + (limit < 0 ? 8 : 12);
    three[0] = nextafterf(limit, -INFINITY);
    three[1] = limit;
    three[2] = nextafterf(limit, INFINITY);
  }
  CHECK(exps_equal(around));
}

}  // namespace

int main() {
  if (!kvtape::base::cpu_features().avx512_vnni) return 0;
  exp16_equals_exp_f32();
  return kvtape::test::failures();
}
#else
int main() { return 0; }
#endif
