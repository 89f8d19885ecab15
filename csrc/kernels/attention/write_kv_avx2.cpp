#include "kernels/attention/write_kv.h"

#include <immintrin.h>

namespace kvtape::kernels::avx2 {
namespace {

__m128i round_to_f16(const float* x) noexcept {
  return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

}  // namespace

// Bound by the stores of K: head_dim of them a head, each to a line of its own. V is one store of 16 bytes per 8.
void write_kv(const float* k, const float* v, const KvTiles& tiles, std::size_t slot) noexcept {
  const std::size_t tile_elems = tiles.head_dim * tiles.block_size;
  for (std::size_t head = 0; head < tiles.n_kv_heads; ++head) {
    std::uint16_t* k_tile = tiles.data + head * tile_elems + slot;
    std::uint16_t* v_row = tiles.data + (tiles.n_kv_heads + head) * tile_elems + slot * tiles.head_dim;
    for (std::size_t d = 0; d < tiles.head_dim; d += 8) {
      alignas(16) std::uint16_t column[8];
      _mm_store_si128(reinterpret_cast<__m128i*>(column), round_to_f16(k + head * tiles.head_dim + d));
      for (std::size_t i = 0; i < 8; ++i) k_tile[(d + i) * tiles.block_size] = column[i];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(v_row + d), round_to_f16(v + head * tiles.head_dim + d));
    }
  }
}

}  // namespace kvtape::kernels::avx2
