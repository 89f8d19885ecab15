#include "kernels/attention/write_kv.h"

#include <cstring>

#include "kernels/linear/quantize_rows.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {
namespace {

// Calls write(x, tile, first, step) for each row's K and V of each head: element e goes to tile[first + e * step].
template <class Write>
void each_row(const WriteKvArgs& args, KvType type, Write write) noexcept {
  const std::size_t tile_bytes = kv_tile_bytes(type, args.head_dim, args.block_size);
  for (std::size_t i = 0; i < args.n_rows; ++i) {
    const std::size_t slot = args.slot + i;
    for (std::size_t head = 0; head < args.n_kv_heads; ++head) {
      std::byte* k_tile = args.tiles + head * tile_bytes;
      write(args.k + i * args.k_stride + head * args.head_dim, k_tile, slot, slot, args.block_size);
      std::byte* v_tile = k_tile + args.n_kv_heads * tile_bytes;
      write(args.v + i * args.v_stride + head * args.head_dim, v_tile, slot, slot * args.head_dim, std::size_t{1});
    }
  }
}

}  // namespace

void write_kv_f16(const WriteKvArgs& args) noexcept {
  each_row(args, KvType::f16,
           [&](const float* x, std::byte* tile, std::size_t, std::size_t first, std::size_t step) noexcept {
             auto* h = reinterpret_cast<std::uint16_t*>(tile) + first;
             for (std::size_t e = 0; e < args.head_dim; ++e) h[e * step] = tensor::f32_to_f16(x[e]);
           });
}

void write_kv_q8_0(const WriteKvArgs& args) noexcept {
  each_row(args, KvType::q8_0,
           [&](const float* x, std::byte* tile, std::size_t slot, std::size_t first, std::size_t step) noexcept {
             auto* q = reinterpret_cast<std::int8_t*>(tile) + first;
             auto* scales = reinterpret_cast<std::uint16_t*>(tile + args.head_dim * args.block_size) + slot;
             for (std::size_t b = 0; b < kv_scales(args.head_dim); ++b) {
               const std::size_t begin = b * kBlockLen;
               const std::size_t n = args.head_dim - begin < kBlockLen ? args.head_dim - begin : kBlockLen;
               float block[kBlockLen] = {}, d, s;  // zeros change neither the largest magnitude nor anything else
               std::int8_t quantized[kBlockLen];
               std::int32_t sum;
               std::int16_t half[2];
               std::memcpy(block, x + begin, n * sizeof(float));
               quantize_rows(block, kBlockLen, 1, kBlockLen, {quantized, &d, &s, &sum, half});
               scales[b * args.block_size] = tensor::f32_to_f16(d);
               for (std::size_t e = 0; e < n; ++e) q[(begin + e) * step] = quantized[e];
             }
           });
}

}  // namespace kvtape::kernels::ref
