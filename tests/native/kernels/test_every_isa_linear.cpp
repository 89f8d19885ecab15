// Linear layers: every table gives the bytes of `ref`, for each format, with the widths and numbers of tokens and rows at
// which a kernel may drop or repeat something.

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/aligned_buffer.h"
#include "kernels/every_isa.h"
#include "kernels/numerics.h"

namespace {

using namespace kvtape;
using kernels::KernelTable;
using test::every_isa_equals_ref;
using test::Random;

// Where a packed row (matmul.h) has its f16 scales; everything else may be any bits.
struct Format {
  const char* name;
  kernels::MatmulQuantized* KernelTable::* matmul;
  std::size_t row_len, row_bytes;
  std::vector<std::size_t> halves;
};
const Format kFormats[] = {
    {"q8_0", &KernelTable::matmul_q8_0, 32, 34, {32}},     {"q4_0", &KernelTable::matmul_q4_0, 32, 18, {16}},
    {"q4_1", &KernelTable::matmul_q4_1, 32, 20, {16, 18}}, {"q5_0", &KernelTable::matmul_q5_0, 32, 22, {20}},
    {"q5_1", &KernelTable::matmul_q5_1, 32, 24, {20, 22}}, {"q4_k", &KernelTable::matmul_q4_k, 256, 148, {0, 2}},
    {"q5_k", &KernelTable::matmul_q5_k, 256, 180, {0, 2}}, {"q6_k", &KernelTable::matmul_q6_k, 256, 210, {0}},
};

constexpr std::size_t kRows = 64, kTile = kernels::kTileRows;

std::string shape(const char* name, std::size_t n_cols, const kernels::MatmulRange& range) {
  return std::string(name) + ", " + std::to_string(n_cols) + " columns, rows " + std::to_string(range.row_begin) +
         " to " + std::to_string(range.row_end) + ", " + std::to_string(range.n_tokens) + " tokens";
}

// Calls run(range) for 1 to 17 tokens with 1 to kRows rows of the matrix; y is the caller's.
template <class Run>
void each_range(Random& random, Run run) {
  for (std::size_t n_tokens = 1; n_tokens <= 17; ++n_tokens) {
    const std::size_t row_begin = random.below(3) * kTile;
    const std::size_t n_rows = random.one_of<std::size_t>({1, 2, 7, 8, 9, 15, 16, 16, 17, 31, 32});
    run(kernels::MatmulRange{row_begin, row_begin + n_rows, n_tokens, nullptr, row_begin + n_rows + random.below(5)});
  }
  run(kernels::MatmulRange{0, kRows, 3, nullptr, kRows});
}

base::AlignedBuffer<std::byte> packed(Random& random, const Format& format, std::size_t n_cols) {
  base::AlignedBuffer<std::byte> w(kRows * n_cols / format.row_len * format.row_bytes);
  const std::size_t tile_bytes = w.size() / (kRows / kTile);
  for (std::size_t i = 0; i < w.size(); ++i) {  // the first tile: the largest 4, 5, 6 and 8 bits
    w[i] = static_cast<std::byte>(i >= tile_bytes ? random.word() : random.one_of({0xffu, 0x80u}));
  }
  for (std::size_t unit = 0; unit < w.size(); unit += format.row_bytes * kTile) {
    for (const std::size_t at : format.halves) {
      for (std::size_t r = 0; r < kTile; ++r) {
        const std::uint16_t half = random.half();
        std::memcpy(w.data() + unit + at * kTile + 2 * r, &half, sizeof half);
      }
    }
  }
  return w;
}

void quantised() {
  Random random(1);
  for (const Format& format : kFormats) {
    const std::vector<std::size_t> widths = format.row_len == 32
                                                ? std::vector<std::size_t>{32, 64, 96, 160, 288, 576, 640, 896, 1536}
                                                : std::vector<std::size_t>{256, 512, 768, 1536};
    for (const std::size_t n_cols : widths) {
      const base::AlignedBuffer<std::byte> w = packed(random, format, n_cols);
      std::vector<float> x = random.floats(17 * n_cols, 4.0f);
      for (std::size_t i = 0; i < 32; ++i) x[3 * n_cols + i] = 0.0f;  // a block of zeros
      x[5 * n_cols + 7] = NAN;
      x[8 * n_cols + n_cols - 1] = 300.0f;
      const std::size_t n_blocks = x.size() / kernels::kBlockLen;
      std::vector<std::int8_t> q(x.size());
      std::vector<float> d(n_blocks), s(n_blocks);
      std::vector<std::int32_t> sum(n_blocks);
      std::vector<std::int16_t> half(2 * n_blocks);
      const kernels::QuantizedRows rows{q.data(), d.data(), s.data(), sum.data(), half.data()};
      kernels::find("ref")->quantize_rows(x.data(), n_cols, 17, n_cols, rows);
      std::fill_n(q.begin(), n_cols, std::int8_t{127});  // the largest sums, for the first token
      std::fill_n(half.begin(), n_cols / 16, std::int16_t{16 * 127});
      std::fill_n(sum.begin(), n_cols / 32, 32 * 127);
      each_range(random, [&](kernels::MatmulRange range) {
        every_isa_equals_ref(shape(format.name, n_cols, range), [&](const KernelTable& k) {
          std::vector<float> y(range.n_tokens * range.y_stride, -7.0f);
          range.y = y.data();
          (k.*format.matmul)({w.data(), range.row_end, n_cols}, rows, range);
          return y;
        });
      });
    }
  }
}

template <class Element, class Draw>
void floats(const char* name, kernels::MatmulFloat* KernelTable::* matmul, Draw draw) {
  Random random(2);
  for (const std::size_t n_cols : {1, 2, 31, 96, 577}) {
    base::AlignedBuffer<Element> w(kRows * n_cols);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = draw(random);
    const std::size_t x_stride = n_cols + random.below(3);
    const std::vector<float> x = random.floats(17 * x_stride);
    each_range(random, [&](kernels::MatmulRange range) {
      every_isa_equals_ref(shape(name, n_cols, range), [&](const KernelTable& k) {
        std::vector<float> y(range.n_tokens * range.y_stride, -7.0f);
        range.y = y.data();
        (k.*matmul)({reinterpret_cast<const std::byte*>(w.data()), range.row_end, n_cols}, x.data(), x_stride, range);
        return y;
      });
    });
  }
}

}  // namespace

int main() {
  if (!test::has_fast_tables()) return 0;
  quantised();
  floats<float>("f32", &KernelTable::matmul_f32, [](Random& random) { return random.unit(); });
  floats<std::uint16_t>("f16", &KernelTable::matmul_f16, [](Random& random) { return random.half(); });
  floats<std::uint16_t>("bf16", &KernelTable::matmul_bf16, [](Random& random) {
    return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(random.unit()) >> 16);
  });
  return test::failures();
}
