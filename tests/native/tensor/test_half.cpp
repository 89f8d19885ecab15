#include "tensor/half.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "check.h"

using namespace kvtape::tensor;

namespace {

// The value of a finite half by its definition: sign, 5 bits of exponent, 10 of mantissa.
double value_of(std::uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

bool is_nan(std::uint16_t h) { return (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0; }

void every_half_up_and_down() {
  int n_wrong = 0;
  for (std::uint32_t i = 0; i <= 0xffff; ++i) {
    const auto h = static_cast<std::uint16_t>(i);
    const float up = f16_to_f32(h);
    if (is_nan(h)) {
      n_wrong += !(std::isnan(up) && is_nan(f32_to_f16(up)));
    } else if ((h & 0x7fff) == 0x7c00) {
      n_wrong += !(std::isinf(up) && std::signbit(up) == ((h & 0x8000) != 0) && f32_to_f16(up) == h);
    } else {
      n_wrong += !(static_cast<double>(up) == value_of(h) && f32_to_f16(up) == h);
    }
  }
  CHECK(n_wrong == 0, "%d of 65536 halves", n_wrong);
}

// The half that is nearest to x, the even one of two equally near, found among the neighbours of the answer.
void rounds_to_nearest_even() {
  std::mt19937_64 random(1);
  const auto check = [](float x) {
    const std::uint16_t got = f32_to_f16(x);
    const std::uint16_t magnitude = got & 0x7fff;
    if (magnitude == 0x7c00) return std::fabs(x) >= 65520.0f;  // halfway between 65504 and 65536
    const double error = std::fabs(static_cast<double>(x) - value_of(got));
    for (int step : {-1, 1}) {
      const int other = magnitude + step;
      if (other < 0 || other >= 0x7c00) continue;
      const auto neighbour = static_cast<std::uint16_t>((got & 0x8000) | other);
      const double its_error = std::fabs(static_cast<double>(x) - value_of(neighbour));
      if (its_error < error || (its_error == error && (got & 1) != 0)) return false;
    }
    return std::signbit(x) == ((got & 0x8000) != 0);
  };
  int n_wrong = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    // Random bits with exponents around the range of halves, and every halfway point.
    const auto exponent = static_cast<std::uint32_t>(127 - 26 + static_cast<int>(random() % 44));
    const auto bits = static_cast<std::uint32_t>((random() & 0x807fffff) | exponent << 23);
    n_wrong += !check(std::bit_cast<float>(bits));
  }
  for (std::uint32_t h = 0; h < 0x7bff; ++h) {
    const double half_way = (value_of(static_cast<std::uint16_t>(h)) + value_of(static_cast<std::uint16_t>(h + 1))) / 2;
    const auto x = static_cast<float>(half_way);
    n_wrong += !check(x) + !check(-x) + !check(std::nextafterf(x, 0)) + !check(std::nextafterf(x, 1e9f));
  }
  CHECK(n_wrong == 0, "%d values", n_wrong);
  CHECK(f32_to_f16(65519.996f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(f32_to_f16(-0.0f) == 0x8000);
}

void bfloat16() {
  CHECK(bf16_to_f32(0x3f80) == 1.0f);
  CHECK(bf16_to_f32(0xc040) == -3.0f);
  CHECK(bf16_to_f32(0x0001) == std::bit_cast<float>(0x00010000u));
  CHECK(std::isinf(bf16_to_f32(0x7f80)) && std::isnan(bf16_to_f32(0x7fc0)));
}

}  // namespace

int main() {
  every_half_up_and_down();
  rounds_to_nearest_even();
  bfloat16();
  return kvtape::test::failures();
}
