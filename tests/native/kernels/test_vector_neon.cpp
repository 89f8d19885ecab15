// The 4-lane helpers equal their scalar definitions bit for bit.

#include <initializer_list>

#include "check.h"

#if defined(KVTAPE_HAVE_NEON)
#include "kernels/vector_neon.h"
#include "tensor/half.h"

namespace {

using namespace kvtape::kernels;

bool exp4_equals(const float* x) {
  float found[4];
  vst1q_f32(found, exp4(vld1q_f32(x)));
  for (int i = 0; i < 4; ++i) {
    const float wanted = exp_f32(x[i]);
    if (memcmp(&found[i], &wanted, sizeof wanted) != 0) return false;
  }
  return true;
}

// Every 6007th float (an emulator runs this), and the neighbours of each limit.
void exp4_equals_exp_f32() {
  std::uint64_t n_different = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4 * 6007) {
    float x[4];
    for (std::uint32_t i = 0; i < 4; ++i) {
      const std::uint32_t word = static_cast<std::uint32_t>(bits) + 6007 * i;
      memcpy(x + i, &word, sizeof word);
    }
    n_different += !exp4_equals(x);
  }
  CHECK(n_different == 0, "%llu vectors", static_cast<unsigned long long>(n_different));
  for (const float limit : {kExpMin, kExpMax}) {
    const float around[8] = {
        nextafterf(limit, -INFINITY), limit, nextafterf(limit, INFINITY), 0.0f, -0.0f, INFINITY, -INFINITY, NAN};
    CHECK(exp4_equals(around) && exp4_equals(around + 4));
  }
}

void reduce16_equals_reduce_lanes() {
  for (int shift = 0; shift < 16; ++shift) {
    float lanes[16];
    for (int i = 0; i < 16; ++i) lanes[i] = ldexpf(1.0f + static_cast<float>(i), (7 * i + shift) % 25);
    const float32x4_t vectors[4] = {vld1q_f32(lanes), vld1q_f32(lanes + 4), vld1q_f32(lanes + 8),
                                    vld1q_f32(lanes + 12)};
    CHECK(reduce16(vectors) == reduce_lanes(lanes));
  }
}

void load4_f16_equals_half() {
  std::uint64_t n_different = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; bits += 4) {
    std::uint16_t halves[4];
    for (std::uint32_t i = 0; i < 4; ++i) halves[i] = static_cast<std::uint16_t>(bits + i);
    float found[4];
    vst1q_f32(found, load4_f16(halves));
    for (int i = 0; i < 4; ++i) {
      const float wanted = kvtape::tensor::f16_to_f32(halves[i]);
      n_different += memcmp(&found[i], &wanted, sizeof wanted) != 0;
    }
  }
  CHECK(n_different == 0);
}

void loads_and_stores_stop_at_the_end() {
  const float from[4] = {1, 2, 3, 4};
  for (std::size_t n = 1; n <= 6; ++n) {
    float y[4] = {-1, -1, -1, -1}, loaded[4];
    vst1q_f32(loaded, load_first(from, n));
    store_first(y, vld1q_f32(from), n);
    const uint32x4_t mask = first_lanes(n);
    uint32_t lanes[4];
    vst1q_u32(lanes, mask);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(loaded[i] == (i < n ? from[i] : 0.0f) && y[i] == (i < n ? from[i] : -1.0f));
      CHECK(lanes[i] == (i < n ? 0xffffffffu : 0u));
    }
  }
}

void store_rows_stops_at_the_last_row() {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = static_cast<float>(i);
  const float32x4_t rows[4] = {vld1q_f32(lanes), vld1q_f32(lanes + 4), vld1q_f32(lanes + 8), vld1q_f32(lanes + 12)};
  for (std::size_t n_rows = 1; n_rows <= 40; ++n_rows) {
    float y[17];
    for (float& value : y) value = -1;
    store_rows(y, rows, n_rows);
    for (std::size_t r = 0; r < 17; ++r) CHECK(y[r] == (r < n_rows && r < 16 ? static_cast<float>(r) : -1.0f));
  }
}

}  // namespace

int main() {
  exp4_equals_exp_f32();
  reduce16_equals_reduce_lanes();
  load4_f16_equals_half();
  loads_and_stores_stop_at_the_end();
  store_rows_stops_at_the_last_row();
  return kvtape::test::failures();
}
#else
int main() { return 0; }
#endif
