#include <cstring>

#include "kernels/linear/matmul.h"
#include "kernels/numerics.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {
namespace {

constexpr std::size_t kBlockBytes = 544;
constexpr std::size_t kScaleOffset = 512;

// One output: `block` is the first block of the row's tile, `lane` the row inside it, x one token's activations.
float dot_row(const std::byte* block, std::size_t lane, std::size_t n_blocks, const QuantizedRows& x) noexcept {
  float y = 0.0f;
  for (std::size_t c = 0; c < kChains; ++c) {
    float acc = 0.0f;
    for (std::size_t b = chain_begin(c, n_blocks); b < chain_begin(c + 1, n_blocks); ++b) {
      const std::byte* w = block + b * kBlockBytes;
      std::int32_t dot = 0;  // at most 32 * 128 * 127
      for (std::size_t i = 0; i < kBlockLen; ++i) {
        dot += static_cast<std::int8_t>(w[(i / 4 * kTileRows + lane) * 4 + i % 4]) * x.q[b * kBlockLen + i];
      }
      std::uint16_t d;
      std::memcpy(&d, w + kScaleOffset + 2 * lane, sizeof d);
      acc = __builtin_fmaf(tensor::f16_to_f32(d) * x.d[b], static_cast<float>(dot), acc);
    }
    y = c == 0 ? acc : y + acc;
  }
  return y;
}

}  // namespace

void matmul_q8_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  const std::size_t n_blocks = w.n_cols / kBlockLen;
  for (std::size_t t = 0; t < range.n_tokens; ++t) {
    const QuantizedRows token = rows_from(x, t, w.n_cols);
    for (std::size_t r = range.row_begin; r < range.row_end; ++r) {
      const std::byte* tile = w.data + r / kTileRows * n_blocks * kBlockBytes;
      range.y[t * range.y_stride + r] = dot_row(tile, r % kTileRows, n_blocks, token);
    }
  }
}

}  // namespace kvtape::kernels::ref
