// Blocks of 12 rows by 2 vectors where there are many: 24 accumulators of the 32 registers. Zen 4 does one FMA of 16 lanes
// a cycle, as many multiply-adds as two of 8; but a conversion serves twice as many rows, KV is read from L2 half as
// often, and a vector's other instructions are half as many.

#include "kernels/attention/attend.h"

#include "kernels/attention/attend_simd.h"
#include "kernels/attention/lanes_avx512.h"

namespace kvtape::kernels::avx512 {

void attend_f16(const AttendArgs& args) noexcept { attend_blocks<Lanes16, Lanes8, F16, 12, 2>(args); }
void attend_q8_0(const AttendArgs& args) noexcept { attend_blocks<Lanes16, Lanes8, Q8_0, 12, 2>(args); }

}  // namespace kvtape::kernels::avx512
