// Q5_0 and Q5_1.

#include "kernels/linear/matmul_tiles_ref.h"

namespace kvtape::kernels::ref {
namespace {

template <bool with_minimum>
struct Q5 {
  static constexpr std::size_t kRowLen = 32, kRowBytes = with_minimum ? 24 : 22;

  static float add(const std::byte* tile, std::size_t b, std::size_t lane, const QuantizedRows& x, float acc) noexcept {
    const std::byte* block = tile + b * kRowBytes * kTileRows;
    std::int32_t sum = dot<5>(block, lane, x.q + b * kBlockLen, 0, kBlockLen);
    if (!with_minimum) sum -= 16 * x.sum[b];
    acc = __builtin_fmaf(half_unit(block, 20, lane) * x.d[b], static_cast<float>(sum), acc);
    return with_minimum ? __builtin_fmaf(half_unit(block, 22, lane), x.s[b], acc) : acc;
  }
};

}  // namespace

void matmul_q5_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<false>>(w, x, range);
}

void matmul_q5_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<true>>(w, x, range);
}

}  // namespace kvtape::kernels::ref
