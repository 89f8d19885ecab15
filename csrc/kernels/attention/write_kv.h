#pragma once
// Writes one token's K and V to slot `slot` of its cache block, rounded to f16 (to nearest even).
//   k, v: [n_kv_heads, head_dim] float32; head_dim a multiple of 8
//   tiles: the block's [2, n_kv_heads] tiles of one layer, K of every head first, then V, laid out as attend.h reads them

#include <cstddef>
#include <cstdint>

namespace kvtape::kernels {

struct KvTiles {
  std::uint16_t* data;
  std::size_t n_kv_heads, head_dim, block_size;
};

using WriteKv = void(const float* k, const float* v, const KvTiles& tiles, std::size_t slot) noexcept;

namespace ref { WriteKv write_kv; }
namespace avx2 { WriteKv write_kv; }

}  // namespace kvtape::kernels
