// Norms, activations, rope, quantising and the search for tokens: every table gives the bytes of `ref`.
// Linear layers and attention have files of their own.

#include <cmath>

#include "kernels/every_isa.h"

namespace {

using namespace kvtape;
using test::every_isa_equals_ref;
using test::Random;

const std::vector<std::size_t> kLengths = {1,  2,  3,  4,  5,  7,   8,   9,   15,  16,  17,
                                           31, 33, 63, 64, 65, 511, 512, 513, 576, 1540};

std::string of(const char* what, std::size_t n) { return std::string(what) + " of " + std::to_string(n); }

// Values of many sizes, with the limits of exp and tanh, zeros, infinities and NaN among them.
std::vector<float> hard_floats(Random& random, std::size_t n) {
  std::vector<float> x = random.floats(n, 20.0f);
  for (float& value : x) {
    if (random.below(4) == 0) value *= 0.01f;
    if (random.below(8) == 0) {
      value = random.one_of(
          {0.0f, -0.0f, 88.37627f, 88.5f, 87.4f, -87.4f, 18.75f, 1e-40f, -1e30f, INFINITY, -INFINITY, NAN});
    }
  }
  return x;
}

void norms() {
  Random random(1);
  for (const std::size_t dim : kLengths) {
    const std::size_t n_rows = 25;
    const std::vector<float> x = random.floats(n_rows * dim, 3.0f), weight = random.floats(dim);
    every_isa_equals_ref(of("rms_norm", dim), [&](const kernels::KernelTable& k) {
      std::vector<float> y(n_rows * dim + 1, -7.0f);
      k.rms_norm(x.data(), weight.data(), y.data(), n_rows, dim, 1e-5f);
      return y;
    });
  }
}

void activations() {
  Random random(2);
  for (const std::size_t n : kLengths) {
    const std::vector<float> gate = hard_floats(random, n), up = random.floats(n);
    for (const auto member : {&kernels::KernelTable::silu_mul, &kernels::KernelTable::gelu_mul}) {
      every_isa_equals_ref(of(member == &kernels::KernelTable::silu_mul ? "silu_mul" : "gelu_mul", n),
                           [&](const kernels::KernelTable& k) {
                             std::vector<float> y(n + 1, -7.0f);
                             (k.*member)(gate.data(), up.data(), y.data(), n);
                             return y;
                           });
    }
    every_isa_equals_ref(of("softcap", n), [&](const kernels::KernelTable& k) {
      std::vector<float> y = gate;
      k.softcap(y.data(), n - n / 4, 30.0f);
      return y;
    });
  }
}

void ropes() {
  Random random(3);
  for (const std::size_t head_dim : {2, 6, 8, 14, 16, 18, 64, 80, 128, 256}) {
    const std::size_t n_rows = 1 + random.below(5), n_heads = 1 + random.below(3), n_ctx = 9;
    const std::size_t stride = n_heads * head_dim + random.below(4);
    const std::vector<float> x = random.floats(n_rows * stride), angles = random.floats(n_ctx * head_dim);
    std::vector<std::int32_t> positions(n_rows);
    for (std::int32_t& position : positions) position = static_cast<std::int32_t>(random.below(n_ctx));
    for (const auto member : {&kernels::KernelTable::rope_pairs, &kernels::KernelTable::rope_halves}) {
      every_isa_equals_ref(of("rope", head_dim), [&](const kernels::KernelTable& k) {
        std::vector<float> turned = x;
        (k.*member)({turned.data(), stride, positions.data(), angles.data(), angles.data() + n_ctx * head_dim / 2,
                     n_rows, n_heads, head_dim});
        return turned;
      });
    }
  }
}

void quantising() {
  Random random(4);
  for (const std::size_t dim : {32, 64, 96, 160, 576, 640, 896, 1536}) {
    const std::size_t n_rows = 1 + random.below(4), stride = dim + random.below(3), n_blocks = n_rows * dim / 32;
    std::vector<float> x = random.floats(n_rows * stride, 5.0f);
    for (std::size_t i = 0; i < x.size(); i += 1 + random.below(200)) {
      x[i] = random.one_of({0.0f, 1000.0f, 1e-40f, -1e38f, NAN, -INFINITY, 0.5f, -127.0f});
    }
    for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(i + 1) * 0x1p-123f;       // up to kMinAmax
    for (std::size_t i = 32; i < 64 && dim > 32; ++i) x[i] = static_cast<float>(i) - 47.5f;  // ties
    every_isa_equals_ref(of("quantize_rows", dim), [&](const kernels::KernelTable& k) {
      std::vector<std::int8_t> q(n_rows * dim);
      std::vector<float> d(n_blocks), s(n_blocks);
      std::vector<std::int32_t> sum(n_blocks);
      std::vector<std::int16_t> half(2 * n_blocks);
      k.quantize_rows(x.data(), stride, n_rows, dim, {q.data(), d.data(), s.data(), sum.data(), half.data()});
      std::vector<std::byte> all;
      const auto append = [&](const auto& part) {
        const auto* bytes = reinterpret_cast<const std::byte*>(part.data());
        all.insert(all.end(), bytes, bytes + part.size() * sizeof part[0]);
      };
      append(q), append(d), append(s), append(sum), append(half);
      return all;
    });
  }
}

void searches() {
  Random random(5);
  for (const std::size_t n : kLengths) {
    const std::vector<float> x = hard_floats(random, n);
    every_isa_equals_ref(of("run_max", n), [&](const kernels::KernelTable& k) {
      std::vector<float> y(n / kernels::kMaxRun + 2, -7.0f);
      k.run_max(x.data(), n, y.data());
      return y;
    });
    every_isa_equals_ref(of("exp_weights", n), [&](const kernels::KernelTable& k) {
      std::vector<float> w(n + 1, -7.0f), sums(n / kernels::kSumRun + 2, -7.0f);
      n % 2 == 0 ? k.exp_weights(x.data(), n, 0.0f, 1.0f, w.data(), sums.data())
                 : k.exp_weights(x.data(), n, 5.0f, 0.7f, w.data(), sums.data());
      w.insert(w.end(), sums.begin(), sums.end());
      return w;
    });
    for (const float least : {-INFINITY, 0.0f, 19.0f}) {
      every_isa_equals_ref(of("select_at_least", n), [&](const kernels::KernelTable& k) {
        std::vector<std::int32_t> ids(n + 1, -7);
        ids.push_back(static_cast<std::int32_t>(k.select_at_least(x.data(), n, least, ids.data())));
        return ids;
      });
    }
  }
}

}  // namespace

int main() {
  if (!test::has_fast_tables()) return 0;
  norms();
  activations();
  ropes();
  quantising();
  searches();
  return test::failures();
}
