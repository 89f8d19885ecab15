#include "kernels/attention/attend.h"

#include "kernels/numerics.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {
namespace {

struct Partition {
  const std::uint16_t* const* k_tiles;
  const std::uint16_t* const* v_tiles;
  std::size_t head_dim, block_size, first_visible, n_visible;

  float k(std::size_t j, std::size_t d) const noexcept {
    return tensor::f16_to_f32(k_tiles[j / block_size][d * block_size + j % block_size]);
  }
  float v(std::size_t j, std::size_t d) const noexcept {
    return tensor::f16_to_f32(v_tiles[j / block_size][j % block_size * head_dim + d]);
  }
};

// The state of one row over one partition; o: [head_dim].
void attend_partition(const float* q, float scale, const Partition& part, float* m_out, float* l_out,
                      float* o) noexcept {
  float p[kPartitionLen];
  float m = -__builtin_inff();
  for (std::size_t j = part.first_visible; j < part.n_visible; ++j) {
    float acc = 0.0f;
    for (std::size_t d = 0; d < part.head_dim; ++d) acc = __builtin_fmaf(q[d], part.k(j, d), acc);
    p[j] = acc * scale;
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
    for (std::size_t j = part.first_visible; j < part.n_visible; ++j) acc = __builtin_fmaf(p[j], part.v(j, d), acc);
    o[d] = acc;
  }
  *m_out = m;
  *l_out = reduce_lanes(lanes);
}

}  // namespace

void attend(const AttendArgs& args) noexcept {
  const std::size_t tiles_per_partition = kPartitionLen / args.block_size;
  for (std::size_t r = 0; r < args.n_rows; ++r) {
    const AttentionState state{args.state.m + r, args.state.l + r, args.state.o + r * args.head_dim};
    for (std::size_t i = 0; i < args.n_partitions; ++i) {
      const auto n_visible = static_cast<std::size_t>(args.n_visible[i * args.n_rows + r]);
      const auto first_visible =
          static_cast<std::size_t>(args.first_visible == nullptr ? 0 : args.first_visible[i * args.n_rows + r]);
      if (first_visible == n_visible) continue;
      const Partition part{.k_tiles = args.k_tiles + i * tiles_per_partition,
                           .v_tiles = args.v_tiles + i * tiles_per_partition,
                           .head_dim = args.head_dim,
                           .block_size = args.block_size,
                           .first_visible = first_visible,
                           .n_visible = n_visible};
      float m, l, o[kMaxHeadDim];
      attend_partition(args.q[r], args.scale, part, &m, &l, o);
      fold_states(state, {&m, &l, o}, 1, args.head_dim);
    }
  }
}

}  // namespace kvtape::kernels::ref
