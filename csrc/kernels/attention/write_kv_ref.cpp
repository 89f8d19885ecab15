#include "kernels/attention/write_kv.h"

#include "tensor/half.h"

namespace kvtape::kernels::ref {

void write_kv(const float* k, const float* v, const KvTiles& tiles, std::size_t slot) noexcept {
  const std::size_t tile_elems = tiles.head_dim * tiles.block_size;
  for (std::size_t head = 0; head < tiles.n_kv_heads; ++head) {
    std::uint16_t* k_tile = tiles.data + head * tile_elems;
    std::uint16_t* v_tile = tiles.data + (tiles.n_kv_heads + head) * tile_elems;
    for (std::size_t d = 0; d < tiles.head_dim; ++d) {
      k_tile[d * tiles.block_size + slot] = tensor::f32_to_f16(k[head * tiles.head_dim + d]);
      v_tile[slot * tiles.head_dim + d] = tensor::f32_to_f16(v[head * tiles.head_dim + d]);
    }
  }
}

}  // namespace kvtape::kernels::ref
