#include "kernels/table.h"

#include <cstdlib>

#include "base/cpu_features.h"

namespace kvtape::kernels {
namespace {

// clang-format off: one entry a line
#define KVTAPE_TABLE(name)                       \
  KernelTable {                                  \
    .isa = #name,                                \
    .rms_norm = name::rms_norm,                  \
    .rope_pairs = name::rope_pairs,              \
    .rope_halves = name::rope_halves,            \
    .silu_mul = name::silu_mul,                  \
    .gelu_mul = name::gelu_mul,                  \
    .softcap = name::softcap,                    \
    .quantize_rows = name::quantize_rows,        \
    .matmul_q8_0 = name::matmul_q8_0,            \
    .matmul_q4_0 = name::matmul_q4_0,            \
    .matmul_q4_1 = name::matmul_q4_1,            \
    .matmul_q5_0 = name::matmul_q5_0,            \
    .matmul_q5_1 = name::matmul_q5_1,            \
    .matmul_q4_k = name::matmul_q4_k,            \
    .matmul_q5_k = name::matmul_q5_k,            \
    .matmul_q6_k = name::matmul_q6_k,            \
    .matmul_f32 = name::matmul_f32,              \
    .matmul_f16 = name::matmul_f16,              \
    .matmul_bf16 = name::matmul_bf16,            \
    .attend_f16 = name::attend_f16,              \
    .attend_q8_0 = name::attend_q8_0,            \
    .fold_states = name::fold_states,            \
    .write_kv_f16 = name::write_kv_f16,          \
    .write_kv_q8_0 = name::write_kv_q8_0,        \
    .run_max = name::run_max,                    \
    .exp_weights = name::exp_weights,            \
    .select_at_least = name::select_at_least,    \
  }
// clang-format on

constexpr KernelTable kRef = KVTAPE_TABLE(ref);
#if defined(KVTAPE_HAVE_NEON)
constexpr KernelTable kNeon = KVTAPE_TABLE(neon);
#elif defined(KVTAPE_HAVE_AVX512)  // an x86-64 build has both
constexpr KernelTable kAvx2 = KVTAPE_TABLE(avx2);
constexpr KernelTable kAvx512 = [] {
  KernelTable table = kAvx2;  // what has no line below has no avx512 file
  table.isa = "avx512";
  table.silu_mul = avx512::silu_mul;
  table.gelu_mul = avx512::gelu_mul;
  table.quantize_rows = avx512::quantize_rows;
  table.matmul_q8_0 = avx512::matmul_q8_0;
  table.matmul_q4_0 = avx512::matmul_q4_0;
  table.matmul_q4_1 = avx512::matmul_q4_1;
  table.matmul_q5_0 = avx512::matmul_q5_0;
  table.matmul_q5_1 = avx512::matmul_q5_1;
  table.matmul_q4_k = avx512::matmul_q4_k;
  table.matmul_q5_k = avx512::matmul_q5_k;
  table.matmul_q6_k = avx512::matmul_q6_k;
  table.matmul_f32 = avx512::matmul_f32;
  table.matmul_f16 = avx512::matmul_f16;
  table.matmul_bf16 = avx512::matmul_bf16;
  table.attend_f16 = avx512::attend_f16;
  table.attend_q8_0 = avx512::attend_q8_0;
  return table;
}();
#endif

}  // namespace

std::span<const KernelTable* const> available() noexcept {
#if defined(KVTAPE_HAVE_NEON)
  static const KernelTable* const all[] = {&kNeon, &kRef};
  return std::span(all).subspan(base::cpu_features().neon_dotprod ? 0 : 1);
#elif defined(KVTAPE_HAVE_AVX512)
  static const KernelTable* const all[] = {&kAvx512, &kAvx2, &kRef};
  const base::CpuFeatures& cpu = base::cpu_features();
  return std::span(all).subspan(cpu.avx512_vnni ? 0 : cpu.avx2_fma_f16c ? 1 : 2);
#else
  static const KernelTable* const all[] = {&kRef};
  return all;
#endif
}

const KernelTable* find(std::string_view isa) noexcept {
  for (const KernelTable* table : available()) {
    if (table->isa == isa) return table;
  }
  return nullptr;
}

const KernelTable* active() noexcept {
  static const KernelTable* const chosen = [] {
    const char* forced = std::getenv("KVTAPE_ISA");
    return forced == nullptr || *forced == '\0' ? available().front() : find(forced);
  }();
  return chosen;
}

}  // namespace kvtape::kernels
