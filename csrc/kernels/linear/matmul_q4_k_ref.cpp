// Q4_K and Q5_K: one formula over 4 bits or 5.

#include "kernels/linear/matmul_tiles_ref.h"

namespace kvtape::kernels::ref {
namespace {

template <int bits>
struct K {
  static constexpr std::size_t kValueBytes = bits == 4 ? 16 : 20, kBlockBytes = kValueBytes + 2;
  static constexpr std::size_t kRowLen = 256, kRowBytes = 4 + 8 * kBlockBytes;

  static float add(const std::byte* tile, std::size_t b, std::size_t lane, const QuantizedRows& x, float acc) noexcept {
    const std::byte* super = tile + b / 8 * kRowBytes * kTileRows;
    const std::byte* block = super + (4 + b % 8 * kBlockBytes) * kTileRows;
    const float d_w = half_unit(super, 0, lane) * unit<std::uint8_t>(block, kValueBytes, lane);
    const float m_w = -(half_unit(super, 2, lane) * unit<std::uint8_t>(block, kValueBytes + 1, lane));
    const std::int32_t sum = dot<bits>(block, lane, x.q + b * kBlockLen, 0, kBlockLen);
    acc = __builtin_fmaf(d_w * x.d[b], static_cast<float>(sum), acc);
    return __builtin_fmaf(m_w, x.s[b], acc);
  }
};

}  // namespace

void matmul_q4_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<4>>(w, x, range);
}

void matmul_q5_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<5>>(w, x, range);
}

}  // namespace kvtape::kernels::ref
