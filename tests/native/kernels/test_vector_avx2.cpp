// The 8-lane helpers equal their scalar definitions bit for bit.

#include <cstdint>
#include <initializer_list>

#include "base/cpu_features.h"
#include "check.h"

#if defined(KVTAPE_HAVE_AVX2)
#pragma GCC target("avx2,fma,f16c")
#include "kernels/vector_avx2.h"
#include "tensor/half.h"

namespace {

using namespace kvtape::kernels;

bool exp8_equals(const float* x) {
  float found[8];
  _mm256_storeu_ps(found, exp8(_mm256_loadu_ps(x)));
  for (int i = 0; i < 8; ++i) {
    const float wanted = exp_f32(x[i]);
    if (memcmp(&found[i], &wanted, sizeof wanted) != 0) return false;
  }
  return true;
}

// Every 61st float, and the neighbours of each limit. All 2^32 were compared once, when exp8 was written.
void exp8_equals_exp_f32() {
  std::uint64_t n_different = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 8 * 61) {
    float x[8];
    for (std::uint32_t i = 0; i < 8; ++i) {
      const std::uint32_t word = static_cast<std::uint32_t>(bits) + 61 * i;
      memcpy(x + i, &word, sizeof word);
    }
    n_different += !exp8_equals(x);
  }
  CHECK(n_different == 0, "%llu vectors", static_cast<unsigned long long>(n_different));
  for (const float limit : {kExpMin, kExpMax}) {
    const float around[8] = {
        nextafterf(limit, -INFINITY), limit, nextafterf(limit, INFINITY), 0.0f, -0.0f, INFINITY, -INFINITY, NAN};
    CHECK(exp8_equals(around));
  }
}

void reduce16_equals_reduce_lanes() {
  for (int shift = 0; shift < 16; ++shift) {
    float lanes[16];
    for (int i = 0; i < 16; ++i) lanes[i] = ldexpf(1.0f + static_cast<float>(i), (7 * i + shift) % 25);
    CHECK(reduce16(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8)) == reduce_lanes(lanes));
  }
}

void load8_f16_equals_half() {
  std::uint64_t n_different = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; bits += 8) {
    std::uint16_t halves[8];
    for (std::uint32_t i = 0; i < 8; ++i) halves[i] = static_cast<std::uint16_t>(bits + i);
    float found[8];
    _mm256_storeu_ps(found, load8_f16(halves));
    for (int i = 0; i < 8; ++i) {
      const float wanted = kvtape::tensor::f16_to_f32(halves[i]);
      n_different += memcmp(&found[i], &wanted, sizeof wanted) != 0;
    }
  }
  CHECK(n_different == 0);
}

void store_rows_stops_at_the_last_row() {
  const __m256 low = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), high = _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15);
  for (std::size_t n_rows = 1; n_rows <= 17; ++n_rows) {
    float y[17];
    for (float& value : y) value = -1;
    store_rows(y, low, high, n_rows);
    for (std::size_t r = 0; r < 17; ++r) CHECK(y[r] == (r < n_rows && r < 16 ? static_cast<float>(r) : -1.0f));
  }
}

void broadcast4_repeats_four_columns() {
  const int8_t q[4] = {1, -2, 127, -127};
  int8_t found[32];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(found), broadcast4(q));
  for (int i = 0; i < 32; ++i) CHECK(found[i] == q[i % 4]);
}

}  // namespace

int main() {
  if (!kvtape::base::cpu_features().avx2_fma_f16c) return 0;
  exp8_equals_exp_f32();
  reduce16_equals_reduce_lanes();
  load8_f16_equals_half();
  store_rows_stops_at_the_last_row();
  broadcast4_repeats_four_columns();
  return kvtape::test::failures();
}
#else
int main() { return 0; }
#endif
