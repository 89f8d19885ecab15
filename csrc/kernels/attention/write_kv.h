#pragma once
// Writes K and V of consecutive tokens to slots of one cache block, laid out as kv_tile.h says.
//   f16    rounded to nearest even
//   q8_0   as quantize_rows.h, by blocks of kBlockLen elements of a position's head (the last may be shorter): the scale is
//          d rounded to f16, and q is what d gave before that rounding. An infinity or a NaN in a block: scale NaN, q 0.
// What is written for a token depends on its k and v only.

#include <cstddef>
#include <cstdint>

#include "kernels/attention/kv_tile.h"

namespace kvtape::kernels {

struct WriteKvArgs {
  const float *k, *v;  // [n_rows, n_kv_heads, head_dim]; rows k_stride and v_stride floats apart
  std::size_t k_stride, v_stride;
  std::size_t n_rows;  // row i goes to slot + i, which is less than block_size
  std::size_t slot;
  std::byte* tiles;  // the block's [2, n_kv_heads] tiles of one layer, K of every head first, then V
  std::size_t n_kv_heads, head_dim, block_size;
};

using WriteKv = void(const WriteKvArgs&) noexcept;

namespace ref { WriteKv write_kv_f16, write_kv_q8_0; }
namespace avx2 { WriteKv write_kv_f16, write_kv_q8_0; }
namespace neon { WriteKv write_kv_f16, write_kv_q8_0; }

}  // namespace kvtape::kernels
