#pragma once
// Dispatch is data: one table of function pointers an instruction set. Take it outside the loop:
//   const KernelTable& k = kernels::active();

#include <span>
#include <string_view>

#include "kernels/activation/gelu_mul.h"
#include "kernels/activation/silu_mul.h"
#include "kernels/activation/softcap.h"
#include "kernels/attention/attend.h"
#include "kernels/attention/fold_states.h"
#include "kernels/attention/write_kv.h"
#include "kernels/linear/matmul.h"
#include "kernels/linear/quantize_rows.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/sampling/exp_weights.h"
#include "kernels/sampling/run_max.h"
#include "kernels/sampling/select_at_least.h"

namespace kvtape::kernels {

struct KernelTable {
  std::string_view isa;
  RmsNorm* rms_norm;
  Rope* rope_pairs;
  Rope* rope_halves;
  SiluMul* silu_mul;
  GeluMul* gelu_mul;
  Softcap* softcap;
  QuantizeRows* quantize_rows;
  MatmulQuantized* matmul_q8_0;
  MatmulQuantized* matmul_q4_0;
  MatmulQuantized* matmul_q4_1;
  MatmulQuantized* matmul_q5_0;
  MatmulQuantized* matmul_q5_1;
  MatmulQuantized* matmul_q4_k;
  MatmulQuantized* matmul_q5_k;
  MatmulQuantized* matmul_q6_k;
  MatmulFloat* matmul_f32;
  MatmulFloat* matmul_f16;
  MatmulFloat* matmul_bf16;
  Attend* attend_f16;
  Attend* attend_q8_0;
  FoldStates* fold_states;
  WriteKv* write_kv_f16;
  WriteKv* write_kv_q8_0;
  RunMax* run_max;
  ExpWeights* exp_weights;
  SelectAtLeast* select_at_least;
};

// The tables this CPU can run, best first; `ref` is always the last.
std::span<const KernelTable* const> available() noexcept;

// The table of that name, or null where this build or this CPU does not have it.
const KernelTable* find(std::string_view isa) noexcept;

// The table named by KVTAPE_ISA, else the best. Null only where KVTAPE_ISA names one that is not available: ops turns
// that into an error.
const KernelTable* active() noexcept;

}  // namespace kvtape::kernels
