#include "kernels/numerics.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "check.h"

namespace {

using namespace kvtape::kernels;

float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Every 251st float between the limits: within one unit in the last place of the exact value.
void exp_is_within_an_ulp() {
  double worst = 0;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 251) {
    const float x = from_bits(static_cast<std::uint32_t>(bits));
    if (!(x >= kExpMin && x <= kExpMax)) continue;
    const double exact = std::exp(static_cast<double>(x));
    const float rounded = static_cast<float>(exact);
    const double ulp = static_cast<double>(std::nextafterf(rounded, INFINITY)) - static_cast<double>(rounded);
    if (std::isfinite(ulp)) worst = std::fmax(worst, std::fabs(static_cast<double>(exp_f32(x)) - exact) / ulp);
  }
  CHECK(worst <= 1.0, "worst %g ulp", worst);
  CHECK(worst > 0.1);  // the sweep did look at something
}

void tanh_is_within_two_ulps() {
  double worst = 0.0;
  for (float x = 1e-30f; x < 20.0f; x = x < 1e-3f ? x * 1.5f : x + 1.7e-5f) {
    const double exact = std::tanh(static_cast<double>(x));
    const double ulp = std::ldexp(1.0, std::ilogb(static_cast<float>(exact)) - 23);
    worst = std::fmax(worst, std::fabs(static_cast<double>(tanh_f32(x)) - exact) / ulp);
    CHECK(tanh_f32(-x) == -tanh_f32(x), "%a", static_cast<double>(x));
  }
  CHECK(worst <= 1.5, "%f ulps", worst);
}

void tanh_at_its_limits() {
  CHECK(tanh_f32(0.0f) == 0.0f && std::signbit(tanh_f32(-0.0f)) && tanh_f32(1e-40f) == 1e-40f);
  CHECK(tanh_f32(9.5f) == 1.0f && tanh_f32(INFINITY) == 1.0f && tanh_f32(-INFINITY) == -1.0f);
  CHECK(std::isnan(tanh_f32(std::numeric_limits<float>::quiet_NaN())));
}

void exp_at_its_limits() {
  CHECK(exp_f32(0.0f) == 1.0f && exp_f32(-0.0f) == 1.0f);
  CHECK(exp_f32(std::nextafterf(kExpMax, INFINITY)) == INFINITY && exp_f32(INFINITY) == INFINITY);
  CHECK(std::isfinite(exp_f32(kExpMax)));
  CHECK(exp_f32(std::nextafterf(kExpMin, -INFINITY)) == 0.0f && exp_f32(-INFINITY) == 0.0f);
  CHECK(exp_f32(kExpMin) > 0.0f);
  CHECK(std::isnan(exp_f32(std::numeric_limits<float>::quiet_NaN())));
}

// The chains of a row cover its blocks in order, and none is longer than the quarter rounded up.
void chains_cover_a_row() {
  for (std::size_t n = 0; n <= 200; ++n) {
    CHECK(chain_begin(0, n) == 0 && chain_begin(kChains, n) == n);
    for (std::size_t c = 0; c < kChains; ++c) {
      CHECK(chain_begin(c, n) <= chain_begin(c + 1, n));
      CHECK(chain_begin(c + 1, n) - chain_begin(c, n) <= (n + kChains - 1) / kChains);
    }
  }
}

// The tree of reduce_lanes, told apart from every other order by sums that round.
void lanes_are_reduced_as_a_tree() {
  float lanes[kReduceLanes];
  for (std::size_t i = 0; i < kReduceLanes; ++i)
    lanes[i] = std::ldexp(1.0f + static_cast<float>(i), static_cast<int>(7 * i % 25));
  float eight[8], four[4];
  for (int i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  CHECK(reduce_lanes(lanes) == (four[0] + four[2]) + (four[1] + four[3]));
}

}  // namespace

int main() {
  exp_is_within_an_ulp();
  exp_at_its_limits();
  tanh_is_within_two_ulps();
  tanh_at_its_limits();
  chains_cover_a_row();
  lanes_are_reduced_as_a_tree();
  return kvtape::test::failures();
}
