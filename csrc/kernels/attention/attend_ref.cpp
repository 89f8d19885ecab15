#include "kernels/attention/attend.h"

#include "kernels/numerics.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {
namespace {

struct Partition {
  const std::byte* const* k_tiles;
  const std::byte* const* v_tiles;
  std::size_t head_dim, block_size, first_visible, n_visible;

  const void* k_tile(std::size_t j) const noexcept { return k_tiles[j / block_size]; }
  const void* v_tile(std::size_t j) const noexcept { return v_tiles[j / block_size]; }
  std::size_t k_index(std::size_t j, std::size_t d) const noexcept { return d * block_size + j % block_size; }
  std::size_t v_index(std::size_t j, std::size_t d) const noexcept { return j % block_size * head_dim + d; }
};

struct F16 : Partition {
  float dot(const float* q, std::size_t j) const noexcept {
    const auto* k = static_cast<const std::uint16_t*>(k_tile(j));
    float acc = 0.0f;
    for (std::size_t d = 0; d < head_dim; ++d) acc = __builtin_fmaf(q[d], tensor::f16_to_f32(k[k_index(j, d)]), acc);
    return acc;
  }
  float add(float acc, float p, std::size_t j, std::size_t d) const noexcept {
    const auto* v = static_cast<const std::uint16_t*>(v_tile(j));
    return __builtin_fmaf(p, tensor::f16_to_f32(v[v_index(j, d)]), acc);
  }
};

struct Q8_0 : Partition {
  // The scale of elements b * kBlockLen on of position j.
  float scale(const void* tile, std::size_t j, std::size_t b) const noexcept {
    const auto* scales =
        reinterpret_cast<const std::uint16_t*>(static_cast<const std::byte*>(tile) + head_dim * block_size);
    return tensor::f16_to_f32(scales[b * block_size + j % block_size]);
  }
  float dot(const float* q, std::size_t j) const noexcept {
    const auto* k = static_cast<const std::int8_t*>(k_tile(j));
    float acc = 0.0f;
    for (std::size_t b = 0; b < kv_scales(head_dim); ++b) {
      float dot_b = 0.0f;
      for (std::size_t d = b * kBlockLen; d < head_dim && d < (b + 1) * kBlockLen; ++d) {
        dot_b = __builtin_fmaf(q[d], static_cast<float>(k[k_index(j, d)]), dot_b);
      }
      acc = __builtin_fmaf(dot_b, scale(k, j, b), acc);
    }
    return acc;
  }
  float add(float acc, float p, std::size_t j, std::size_t d) const noexcept {
    const auto* v = static_cast<const std::int8_t*>(v_tile(j));
    const float w = p * scale(v, j, d / kBlockLen);
    return __builtin_fmaf(w, static_cast<float>(v[v_index(j, d)]), acc);
  }
};

// The state of one row over one partition; o: [head_dim].
template <class Kv>
void attend_partition(const float* q, float scale, const Kv& part, float* m_out, float* l_out, float* o) noexcept {
  float p[kPartitionLen];
  float m = -__builtin_inff();
  for (std::size_t j = part.first_visible; j < part.n_visible; ++j) {
    p[j] = part.dot(q, j) * scale;
    m = p[j] > m ? p[j] : m;
  }
  m = m + 0.0f;
  float lanes[kReduceLanes] = {};
  for (std::size_t j = part.first_visible; j < part.n_visible; ++j) {
    p[j] = exp_f32(p[j] - m);
    lanes[j % kReduceLanes] = lanes[j % kReduceLanes] + p[j];
  }
  for (std::size_t d = 0; d < part.head_dim; ++d) {
    float acc = 0.0f;
    for (std::size_t j = part.first_visible; j < part.n_visible; ++j) acc = part.add(acc, p[j], j, d);
    o[d] = acc;
  }
  *m_out = m;
  *l_out = reduce_lanes(lanes);
}

template <class Kv>
void attend(const AttendArgs& args) noexcept {
  const std::size_t tiles_per_partition = kPartitionLen / args.block_size;
  for (std::size_t r = 0; r < args.n_rows; ++r) {
    const AttentionState state{args.state.m + r, args.state.l + r, args.state.o + r * args.head_dim};
    for (std::size_t i = 0; i < args.n_partitions; ++i) {
      const auto n_visible = static_cast<std::size_t>(args.n_visible[i * args.n_rows + r]);
      const auto first_visible =
          static_cast<std::size_t>(args.first_visible == nullptr ? 0 : args.first_visible[i * args.n_rows + r]);
      if (first_visible == n_visible) continue;
      const Kv part{{.k_tiles = args.k_tiles + i * tiles_per_partition,
                     .v_tiles = args.v_tiles + i * tiles_per_partition,
                     .head_dim = args.head_dim,
                     .block_size = args.block_size,
                     .first_visible = first_visible,
                     .n_visible = n_visible}};
      float m, l, o[kMaxHeadDim];
      attend_partition(args.q[r], args.scale, part, &m, &l, o);
      fold_states(state, {&m, &l, o}, 1, args.head_dim);
    }
  }
}

}  // namespace

void attend_f16(const AttendArgs& args) noexcept { attend<F16>(args); }
void attend_q8_0(const AttendArgs& args) noexcept { attend<Q8_0>(args); }

}  // namespace kvtape::kernels::ref
