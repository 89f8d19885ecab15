#pragma once
// Rotary position embedding (Su et al., 2021), in place. For the pair (a, b) number i of a head, with c = cos[p, i],
// s = sin[p, i] of the row's position p:
//   a' = fma(a, c, -(b * s))        b' = fma(a, s, b * c)
// rope_pairs: pair i is (x[2i], x[2i+1]) (llama); rope_halves: (x[i], x[i + head_dim/2]) (qwen, gemma).
//   x: [n_rows, n_heads, head_dim], rows x_stride floats apart; positions: [n_rows]; cos, sin: [n_ctx, head_dim/2]

#include <cstddef>
#include <cstdint>

namespace kvtape::kernels {

struct RopeArgs {
  float* x;
  std::size_t x_stride;
  const std::int32_t* positions;
  const float* cos;
  const float* sin;
  std::size_t n_rows, n_heads, head_dim;
};

using Rope = void(const RopeArgs&) noexcept;
namespace ref { Rope rope_pairs, rope_halves; }
namespace avx2 { Rope rope_pairs, rope_halves; }
namespace neon { Rope rope_pairs, rope_halves; }

}  // namespace kvtape::kernels
