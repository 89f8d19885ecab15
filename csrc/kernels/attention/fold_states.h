#pragma once
// The softmax state of a query row over some positions, and the joining of two of them, a before b:
//   fold(empty, b) = b;  fold(a, empty) = a;  else M = max(m_a, m_b), x = exp_f32(m_a - M), y = exp_f32(m_b - M),
//   l = fma(l_b, y, l_a * x),  o[d] = fma(o_b[d], y, o_a[d] * x),  m = M
// m is the largest score, l = Σ exp(score - m), o = Σ exp(score - m) * v; the attention of the row is o[d] / l.
// An empty state has l = 0, and any m and o.

#include <cstddef>

namespace kvtape::kernels {

struct AttentionState {  // of n_rows rows
  float* m;              // [n_rows]; never -0
  float* l;              // [n_rows]
  float* o;              // [n_rows, head_dim]
};

// into = fold(into, from). head_dim: a multiple of 8.
using FoldStates = void(const AttentionState& into, const AttentionState& from, std::size_t n_rows,
                        std::size_t head_dim) noexcept;

namespace ref { FoldStates fold_states; }
namespace avx2 { FoldStates fold_states; }
namespace neon { FoldStates fold_states; }

}  // namespace kvtape::kernels
