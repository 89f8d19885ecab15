#include "kernels/rope/rope.h"

namespace kvtape::kernels::ref {
namespace {

// Element i of the first and second half of the pairs is x[first * i] and x[first * i + second].
void rotate(const RopeArgs& args, std::size_t first, std::size_t second) noexcept {
  const std::size_t half = args.head_dim / 2;
  for (std::size_t r = 0; r < args.n_rows; ++r) {
    const float* cos = args.cos + static_cast<std::size_t>(args.positions[r]) * half;
    const float* sin = args.sin + static_cast<std::size_t>(args.positions[r]) * half;
    for (std::size_t h = 0; h < args.n_heads; ++h) {
      float* x = args.x + r * args.x_stride + h * args.head_dim;
      for (std::size_t i = 0; i < half; ++i) {
        float& a = x[first * i];
        float& b = x[first * i + second];
        const float turned_a = __builtin_fmaf(a, cos[i], -(b * sin[i]));
        const float turned_b = __builtin_fmaf(a, sin[i], b * cos[i]);
        a = turned_a;
        b = turned_b;
      }
    }
  }
}

}  // namespace

void rope_pairs(const RopeArgs& args) noexcept { rotate(args, 2, 1); }
void rope_halves(const RopeArgs& args) noexcept { rotate(args, 1, args.head_dim / 2); }

}  // namespace kvtape::kernels::ref
