#pragma once
// What this CPU can do, asked once.

namespace kvtape::base {

struct CpuFeatures {
  bool avx2_fma_f16c = false;  // AVX2, FMA and F16C together: what an `_avx2` kernel file may use
  bool avx512_vnni = false;    // that and AVX-512 F, BW, DQ, VL and VNNI: what an `_avx512` kernel file may use
  bool neon_dotprod = false;   // NEON and its 8-bit dot products (ARMv8.2): what a `_neon` kernel file may use
};

const CpuFeatures& cpu_features() noexcept;

}  // namespace kvtape::base
