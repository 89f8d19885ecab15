#pragma once
// How K and V lie in the cache. A tile is one layer's K or V of one KV head of one cache block:
//   f16    k: [head_dim][block_size] f16, positions in lanes       v: [block_size][head_dim] f16
//   q8_0   the same of int8, and behind them [scales][block_size] f16, scales = ceil(head_dim / kBlockLen): element e of
//          a position is q[e] * scale[e / kBlockLen]; the last block of a position is shorter where head_dim says so
// block_size is 32, 64 or 128; head_dim a multiple of 8, at most kMaxHeadDim; tiles are 64-byte aligned.

#include <cstddef>
#include <cstdint>

#include "kernels/numerics.h"

namespace kvtape::kernels {

static constexpr std::size_t kMaxHeadDim = 256;

enum class KvType : std::uint8_t { f16, q8_0 };

static inline std::size_t kv_scales(std::size_t head_dim) { return (head_dim + kBlockLen - 1) / kBlockLen; }

static inline std::size_t kv_tile_bytes(KvType type, std::size_t head_dim, std::size_t block_size) {
  return block_size * (type == KvType::f16 ? 2 * head_dim : head_dim + 2 * kv_scales(head_dim));
}

}  // namespace kvtape::kernels
