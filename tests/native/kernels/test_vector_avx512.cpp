// The 16-lane helpers equal their scalar definitions bit for bit.

#include "base/cpu_features.h"
#include "check.h"

#if defined(KVTAPE_HAVE_AVX512)
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own header
#include "kernels/vector_avx512.h"
#include "tensor/half.h"

namespace {

using namespace kvtape::kernels;

void load16_f16_equals_half() {
  std::uint64_t n_different = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; bits += 16) {
    std::uint16_t halves[16];
    for (std::uint32_t i = 0; i < 16; ++i) halves[i] = static_cast<std::uint16_t>(bits + i);
    float found[16];
    _mm512_storeu_ps(found, load16_f16(halves));
    for (int i = 0; i < 16; ++i) {
      const float wanted = kvtape::tensor::f16_to_f32(halves[i]);
      n_different += memcmp(&found[i], &wanted, sizeof wanted) != 0;
    }
  }
  CHECK(n_different == 0);
}

void store_rows_stops_at_the_last_row() {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = static_cast<float>(i);
  for (std::size_t n_rows = 1; n_rows <= 40; ++n_rows) {
    float y[17];
    for (float& value : y) value = -1;
    store_rows(y, _mm512_loadu_ps(lanes), n_rows);
    for (std::size_t r = 0; r < 17; ++r) CHECK(y[r] == (r < n_rows && r < 16 ? static_cast<float>(r) : -1.0f));
  }
}

void broadcast4_repeats_four_columns() {
  const int8_t q[4] = {1, -2, 127, -127};
  int8_t found[64];
  _mm512_storeu_si512(found, broadcast4(q));
  for (int i = 0; i < 64; ++i) CHECK(found[i] == q[i % 4]);
}

}  // namespace

int main() {
  if (!kvtape::base::cpu_features().avx512_vnni) return 0;
  load16_f16_equals_half();
  store_rows_stops_at_the_last_row();
  broadcast4_repeats_four_columns();
  return kvtape::test::failures();
}
#else
int main() { return 0; }
#endif
