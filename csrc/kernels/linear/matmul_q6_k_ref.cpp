#include "kernels/linear/matmul_tiles_ref.h"

namespace kvtape::kernels::ref {
namespace {

struct Q6_K {
  static constexpr std::size_t kBlockBytes = 26, kRowLen = 256, kRowBytes = 2 + 8 * kBlockBytes;

  static float add(const std::byte* tile, std::size_t b, std::size_t lane, const QuantizedRows& x, float acc) noexcept {
    const std::byte* super = tile + b / 8 * kRowBytes * kTileRows;
    const std::byte* block = super + (2 + b % 8 * kBlockBytes) * kTileRows;
    std::int32_t sum = 0;
    for (std::size_t part = 0; part < 2; ++part) {
      const std::int32_t n_q = dot<6>(block, lane, x.q + b * kBlockLen, 16 * part, 16 * part + 16);
      const auto scales = unit<std::uint16_t>(block, 24, lane);
      sum += static_cast<std::int8_t>(scales >> 8 * part) * (n_q - 32 * x.half[2 * b + part]);
    }
    return __builtin_fmaf(half_unit(super, 0, lane) * x.d[b], static_cast<float>(sum), acc);
  }
};

}  // namespace

void matmul_q6_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q6_K>(w, x, range);
}

}  // namespace kvtape::kernels::ref
