// Blocks of 6 rows by 4 vectors where there are many: 24 accumulators, 4 columns and a broadcast of the 32 registers.

#include "kernels/attention/attend.h"

#include "kernels/attention/attend_simd.h"
#include "kernels/attention/lanes_neon.h"

namespace kvtape::kernels::neon {

void attend_f16(const AttendArgs& args) noexcept { attend_blocks<Lanes4, Lanes4, F16, 6, 4>(args); }
void attend_q8_0(const AttendArgs& args) noexcept { attend_blocks<Lanes4, Lanes4, Q8_0, 6, 4>(args); }

}  // namespace kvtape::kernels::neon
