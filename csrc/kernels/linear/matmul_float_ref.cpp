#include <cstring>

#include "kernels/linear/matmul.h"
#include "kernels/numerics.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {
namespace {

float widen(float w) noexcept { return w; }
float widen_f16(std::uint16_t w) noexcept { return tensor::f16_to_f32(w); }
float widen_bf16(std::uint16_t w) noexcept { return tensor::bf16_to_f32(w); }

template <class Element, float (*to_f32)(Element) noexcept>
void matmul(const PackedMatrix& w, const float* x, std::size_t x_stride, const MatmulRange& range) noexcept {
  for (std::size_t r = range.row_begin; r < range.row_end; ++r) {
    const std::byte* tile = w.data + r / kTileRows * kTileRows * w.n_cols * sizeof(Element);
    for (std::size_t t = 0; t < range.n_tokens; ++t) {
      float acc = 0.0f;
      for (std::size_t c = 0; c < w.n_cols; ++c) {
        Element element;
        std::memcpy(&element, tile + (c * kTileRows + r % kTileRows) * sizeof element, sizeof element);
        acc = __builtin_fmaf(to_f32(element), x[t * x_stride + c], acc);
      }
      range.y[t * range.y_stride + r] = acc;
    }
  }
}

}  // namespace

void matmul_f32(const PackedMatrix& w, const float* x, std::size_t x_stride, const MatmulRange& range) noexcept {
  matmul<float, widen>(w, x, x_stride, range);
}

void matmul_f16(const PackedMatrix& w, const float* x, std::size_t x_stride, const MatmulRange& range) noexcept {
  matmul<std::uint16_t, widen_f16>(w, x, x_stride, range);
}

void matmul_bf16(const PackedMatrix& w, const float* x, std::size_t x_stride, const MatmulRange& range) noexcept {
  matmul<std::uint16_t, widen_bf16>(w, x, x_stride, range);
}

}  // namespace kvtape::kernels::ref
