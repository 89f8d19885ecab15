// Several matrices over shared activations, and no allocation once the buffers are there.

#include "ops/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "check.h"
#include "count_allocations.h"
#include "ops/table.h"

namespace {

using namespace kvtape;
using ops::ActivationBuffer;
using ops::Int8Form;
using ops::Lease;
using ops::MatmulJob;
using ops::PackedWeights;
using tensor::DType;

constexpr std::size_t kDim = 256;

std::vector<float> ramp(std::size_t n) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
  return x;
}

PackedWeights weights(Lease& lease, DType dtype, std::size_t n_rows) {
  const tensor::DTypeInfo type = tensor::info(dtype);
  std::vector<std::byte> rows(n_rows * kDim / type.block_len * type.block_bytes);
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] = static_cast<std::byte>(i * 29 % 113);  // no f16 infinity or NaN
  base::Arena arena;
  return ops::pack(lease, arena, dtype, n_rows, kDim, rows);
}

// Jobs of different sizes and types in one section give what each gives alone; y has its own stride.
void many_equals_one_by_one() {
  base::ThreadPool pool;
  for (const kernels::KernelTable* kernel : kernels::available()) {
    for (std::size_t n_threads : {1, 2}) {
      Lease lease(pool, n_threads);
      for (std::size_t n_tokens : {1, 5}) {
        const std::vector<float> x = ramp(n_tokens * (kDim + 3));
        ActivationBuffer activations;
        activations.set(lease, *kernel, x.data(), kDim + 3, n_tokens, kDim, Int8Form::once);
        const PackedWeights w[] = {
            weights(lease, DType::q4_1, 700), weights(lease, DType::q8_0, 20), weights(lease, DType::f16, 33),
            weights(lease, DType::q4_0, 16),  weights(lease, DType::q5_0, 17), weights(lease, DType::q5_1, 1),
            weights(lease, DType::q4_k, 100), weights(lease, DType::q5_k, 40), weights(lease, DType::q6_k, 31)};
        std::vector<std::vector<float>> together, alone;
        std::vector<MatmulJob> jobs;
        for (const PackedWeights& matrix : w) {
          const std::size_t y_stride = matrix.n_rows() + 5;
          together.emplace_back(n_tokens * y_stride, -7.0f);
          alone.emplace_back(n_tokens * y_stride, -7.0f);
          ops::matmul(lease, *kernel, matrix, activations, alone.back().data(), y_stride);
        }
        for (std::size_t i = 0; i < std::size(w); ++i) {
          jobs.push_back({&w[i], &activations, together[i].data(), w[i].n_rows() + 5});
        }
        ops::fetch_soon(lease, {&w[0], &w[2]});
        ops::matmul_many(lease, *kernel, jobs);
        ops::fetch_soon(lease, {&w[5]});  // fewer tiles than threads
        CHECK(together == alone);
        for (std::size_t i = 0; i < std::size(w); ++i) {
          for (std::size_t t = 0; t < n_tokens; ++t) {
            const float* row = together[i].data() + t * (w[i].n_rows() + 5);
            CHECK(row[w[i].n_rows() - 1] != -7.0f && row[w[i].n_rows()] == -7.0f);
          }
        }
      }
    }
  }
}

// A job with a list of tiles writes their columns, with the bits of the whole product, and nothing else.
void some_tiles_equal_the_whole() {
  base::ThreadPool pool;
  constexpr std::size_t kRows = 100;  // the last tile has 4
  for (const kernels::KernelTable* kernel : kernels::available()) {
    for (const DType dtype : {DType::q4_1, DType::q6_k, DType::f16}) {
      for (std::size_t n_tokens : {1, 5, 20}) {
        Lease lease(pool, 2);
        const PackedWeights w = weights(lease, dtype, kRows);
        const std::vector<float> x = ramp(n_tokens * kDim);
        ActivationBuffer activations;
        activations.set(lease, *kernel, x.data(), kDim, n_tokens, kDim,
                        w.quantized() ? Int8Form::twice : Int8Form::none);
        std::vector<float> whole(2 * n_tokens * kRows), some(2 * n_tokens * kRows, -7.0f);
        ops::matmul(lease, *kernel, w, activations, whole.data(), kRows);
        const std::size_t tiles[] = {0, 3, 4, 6};
        const MatmulJob job{.w = &w, .x = &activations, .y = some.data(), .y_stride = kRows, .tiles = tiles};
        ops::matmul_many(lease, *kernel, {&job, 1});
        for (std::size_t i = 0; i < n_tokens * kRows; ++i) {
          const bool listed = std::ranges::count(tiles, i % kRows / 16) > 0;
          CHECK(some[i] == (listed ? whole[i] : -7.0f), "element %zu", i);
        }
      }
    }
  }
}

// y has the bias and add_to has y added to it, whatever the split; rows that fill_rows writes are what is quantised.
void adds_and_fills_in_the_same_section() {
  base::ThreadPool pool;
  constexpr std::size_t kTokens = 19, kRows = 600, kStride = kRows + 5;
  const std::vector<float> source = ramp(kTokens * kDim);
  for (std::size_t n_threads : {1, 2}) {
    Lease lease(pool, n_threads);
    const PackedWeights w = weights(lease, DType::q4_1, kRows);
    ActivationBuffer given, filled;
    given.set(lease, ops::table(), source.data(), kDim, kTokens, kDim, Int8Form::once);
    std::vector<float> x(source.size(), -3.0f);
    filled.set(lease, ops::table(), x.data(), kDim, kTokens, kDim, Int8Form::once,
               [&](std::size_t begin, std::size_t n) {
                 std::memcpy(x.data() + begin * kDim, source.data() + begin * kDim, n * kDim * sizeof(float));
               });
    std::vector<float> y(kTokens * kStride, -7.0f), sum(kTokens * kStride, 0.5f), y_alone = y;
    ops::matmul(lease, ops::table(), w, given, y_alone.data(), kStride);
    const std::vector<float> bias = ramp(kRows);
    const MatmulJob job{&w, &filled, y.data(), kStride, sum.data(), bias.data()};
    ops::matmul_many(lease, ops::table(), {&job, 1});
    for (std::size_t i = 0; i < y.size(); ++i) {
      const bool outside = i % kStride >= kRows;
      CHECK(y[i] == (outside ? y_alone[i] : y_alone[i] + bias[i % kStride]), "element %zu", i);
      CHECK(sum[i] == (outside ? 0.5f : 0.5f + y[i]), "element %zu", i);
    }
  }
}

// Two terms are y of x's int8 form plus y of the int8 form of what that leaves, and far nearer to exact.
void two_terms_add_up() {
  base::ThreadPool pool;
  Lease lease(pool, 2);
  constexpr std::size_t kTokens = 11, kRows = 40;
  const std::vector<float> x = ramp(kTokens * kDim);
  const PackedWeights quantized = weights(lease, DType::q8_0, kRows);
  for (const kernels::KernelTable* kernel : kernels::available()) {
    ActivationBuffer both, first, second;
    both.set(lease, *kernel, x.data(), kDim, kTokens, kDim, Int8Form::twice);
    first.set(lease, *kernel, x.data(), kDim, kTokens, kDim, Int8Form::once);
    std::vector<float> rest(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      rest[i] = x[i] - first.rows().d[i / 32] * static_cast<float>(first.rows().q[i]);
    }
    second.set(lease, *kernel, rest.data(), kDim, kTokens, kDim, Int8Form::once);
    std::vector<float> y(2 * kTokens * kRows), y_first(kTokens * kRows), y_second(kTokens * kRows), w(kDim);
    ops::matmul(lease, *kernel, quantized, both, y.data(), kRows);
    ops::matmul(lease, *kernel, quantized, first, y_first.data(), kRows);
    ops::matmul(lease, *kernel, quantized, second, y_second.data(), kRows);
    double error_once = 0.0, error_twice = 0.0;
    for (std::size_t r = 0; r < kRows; ++r) {
      ops::dequantize_row(quantized, r, w);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::size_t i = t * kRows + r;
        CHECK(y[i] == y_first[i] + y_second[i]);
        double exact = 0.0;
        for (std::size_t c = 0; c < kDim; ++c)
          exact += static_cast<double>(w[c]) * static_cast<double>(x[t * kDim + c]);
        error_once += std::abs(static_cast<double>(y_first[i]) - exact);
        error_twice += std::abs(static_cast<double>(y[i]) - exact);
      }
    }
    CHECK(error_twice < error_once / 50, "%g, once %g", error_twice, error_once);
  }
}

void allocates_nothing_once_it_has_room() {
  base::ThreadPool pool;
  Lease lease(pool, 2);
  const PackedWeights w = weights(lease, DType::q4_1, 100);
  const std::vector<float> x = ramp(8 * kDim);
  std::vector<float> y(8 * 100);
  ActivationBuffer activations;
  activations.set(lease, ops::table(), x.data(), kDim, 8, kDim, Int8Form::twice);
  const std::size_t before = test::n_allocations;
  for (std::size_t n_tokens : {8, 1, 3, 8}) {
    activations.set(lease, ops::table(), x.data(), kDim, n_tokens, kDim, Int8Form::once);
    const MatmulJob jobs[] = {{&w, &activations, y.data(), 100}, {&w, &activations, y.data(), 100}};
    ops::matmul_many(lease, ops::table(), std::span(jobs).first(1));
    ops::matmul(lease, ops::table(), w, activations, y.data(), 100);
  }
  CHECK(test::n_allocations == before, "%zu more", test::n_allocations - before);
}

// Whether f throws invalid_argument with `part` in its message.
template <class F>
bool refused(const char* part, F f) {
  try {
    f();
  } catch (const base::Error& error) {
    return error.code() == base::ErrorCode::invalid_argument && std::strstr(error.what(), part) != nullptr;
  }
  return false;
}

void refuses_what_does_not_fit() {
  base::ThreadPool pool;
  Lease lease(pool, 1);
  const kernels::KernelTable& kernel = ops::table();
  const std::vector<float> x = ramp(4 * kDim);
  std::vector<float> y(400);
  const PackedWeights quantized = weights(lease, DType::q8_0, 20), floats = weights(lease, DType::f32, 20);
  ActivationBuffer activations;
  const auto run = [&](const PackedWeights& w, std::size_t y_stride) {
    ops::matmul(lease, kernel, w, activations, y.data(), y_stride);
  };
  activations.set(lease, kernel, x.data(), kDim, 4, kDim, Int8Form::none);
  CHECK(!refused("", [&] { run(floats, 20); }));
  CHECK(refused("x: has no int8 form, which w of type Q8_0 needs", [&] { run(quantized, 20); }));
  CHECK(refused("y_stride: 19, wanted at least the rows of w: [20, 256]", [&] { run(floats, 19); }));
  const std::size_t tiles[] = {0, 2};
  const MatmulJob beyond{.w = &floats, .x = &activations, .y = y.data(), .y_stride = 20, .tiles = tiles};
  CHECK(refused("tiles: 2 is not one of w: [20, 256]", [&] { ops::matmul_many(lease, kernel, {&beyond, 1}); }));
  activations.set(lease, kernel, x.data(), 64, 4, 64, Int8Form::once);
  CHECK(refused("x: 64 columns, wanted those of w: [20, 256]", [&] { run(quantized, 20); }));
  CHECK(refused("x: 48 columns, wanted a multiple of 32",
                [&] { activations.set(lease, kernel, x.data(), 48, 4, 48, Int8Form::once); }));
  CHECK(refused("x_stride: 255, wanted at least 256",
                [&] { activations.set(lease, kernel, x.data(), 255, 2, kDim, Int8Form::once); }));
}

}  // namespace

int main() {
  many_equals_one_by_one();
  some_tiles_equal_the_whole();
  adds_and_fills_in_the_same_section();
  two_terms_add_up();
  allocates_nothing_once_it_has_room();
  refuses_what_does_not_fit();
  return kvtape::test::failures();
}
