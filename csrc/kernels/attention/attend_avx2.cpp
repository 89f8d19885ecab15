// Blocks of 6 rows by 2 vectors where there are many: 12 accumulators, 2 columns and a broadcast of the 16 registers. An
// inner loop is 12 FMAs for 2 conversions and 6 broadcasts, so the two FMA ports are the bound.

#include "kernels/attention/attend.h"

#include "kernels/attention/attend_simd.h"
#include "kernels/attention/lanes_avx2.h"

namespace kvtape::kernels::avx2 {

void attend_f16(const AttendArgs& args) noexcept { attend_blocks<Lanes8, Lanes8, F16, 6, 2>(args); }
void attend_q8_0(const AttendArgs& args) noexcept { attend_blocks<Lanes8, Lanes8, Q8_0, 6, 2>(args); }

}  // namespace kvtape::kernels::avx2
