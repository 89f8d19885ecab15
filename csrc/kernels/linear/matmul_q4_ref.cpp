// Q4_0 and Q4_1: one layout of nibbles, two formulas.

#include <cstring>

#include "kernels/linear/matmul.h"
#include "kernels/numerics.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {
namespace {

constexpr std::size_t kNibbleBytes = 256;

float load_f16(const std::byte* p) noexcept {
  std::uint16_t half;
  std::memcpy(&half, p, sizeof half);
  return tensor::f16_to_f32(half);
}

// Σ n * q of a block, n from 0 to 15: at most 32 * 15 * 127.
std::int32_t dot_block(const std::byte* nibbles, std::size_t lane, const std::int8_t* q) noexcept {
  std::int32_t dot = 0;
  for (std::size_t i = 0; i < kBlockLen / 2; ++i) {
    const int byte = static_cast<int>(nibbles[(i / 4 * kTileRows + lane) * 4 + i % 4]);
    dot += (byte & 15) * q[i] + (byte >> 4) * q[i + kBlockLen / 2];
  }
  return dot;
}

// One output: `block` is the first block of the row's tile, `lane` the row inside it, x one token's activations.
template <bool with_minimum>
float dot_row(const std::byte* block, std::size_t lane, std::size_t n_blocks, const QuantizedRows& x) noexcept {
  constexpr std::size_t block_bytes = kNibbleBytes + 2 * kTileRows * (with_minimum ? 2 : 1);
  float y = 0.0f;
  for (std::size_t c = 0; c < kChains; ++c) {
    float acc = 0.0f;
    for (std::size_t b = chain_begin(c, n_blocks); b < chain_begin(c + 1, n_blocks); ++b) {
      const std::byte* w = block + b * block_bytes;
      const std::byte* scales = w + kNibbleBytes + 2 * lane;
      std::int32_t dot = dot_block(w, lane, x.q + b * kBlockLen);
      if (!with_minimum) dot -= 8 * x.sum[b];
      acc = __builtin_fmaf(load_f16(scales) * x.d[b], static_cast<float>(dot), acc);
      if (with_minimum) acc = __builtin_fmaf(load_f16(scales + 2 * kTileRows), x.s[b], acc);
    }
    y = c == 0 ? acc : y + acc;
  }
  return y;
}

template <bool with_minimum>
void matmul(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  constexpr std::size_t block_bytes = kNibbleBytes + 2 * kTileRows * (with_minimum ? 2 : 1);
  const std::size_t n_blocks = w.n_cols / kBlockLen;
  for (std::size_t t = 0; t < range.n_tokens; ++t) {
    const QuantizedRows token = rows_from(x, t, w.n_cols);
    for (std::size_t r = range.row_begin; r < range.row_end; ++r) {
      const std::byte* tile = w.data + r / kTileRows * n_blocks * block_bytes;
      range.y[t * range.y_stride + r] = dot_row<with_minimum>(tile, r % kTileRows, n_blocks, token);
    }
  }
}

}  // namespace

void matmul_q4_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul<false>(w, x, range);
}

void matmul_q4_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul<true>(w, x, range);
}

}  // namespace kvtape::kernels::ref
