#pragma once
// Kernel tables by name, for everyone above kernels/.

#include <string_view>

#include "kernels/table.h"

namespace kvtape::ops {

// The table named isa; where isa is empty the one KVTAPE_ISA names, else the best this CPU can run.
// Throws invalid_argument with the list of what is available.
const kernels::KernelTable& table(std::string_view isa = {});

}  // namespace kvtape::ops
