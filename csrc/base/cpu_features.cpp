#include "base/cpu_features.h"

namespace kvtape::base {

const CpuFeatures& cpu_features() noexcept {
  static const CpuFeatures features = [] {
    CpuFeatures found;
#if defined(__x86_64__)
    // Both GCC and Clang ask XCR0 too, whether the operating system saves the wide registers.
    __builtin_cpu_init();
    found.avx2_fma_f16c =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    found.avx512_vnni = found.avx2_fma_f16c && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
    return found;
  }();
  return features;
}

}  // namespace kvtape::base
