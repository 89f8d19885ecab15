#include "ops/table.h"

#include <cstdlib>
#include <string>

#include "base/error.h"

namespace kvtape::ops {

const kernels::KernelTable& table(std::string_view isa) {
  const kernels::KernelTable* found = isa.empty() ? kernels::active() : kernels::find(isa);
  if (found != nullptr) return *found;
  std::string message = isa.empty() ? "KVTAPE_ISA" : "isa";
  message += ": '" + std::string(isa.empty() ? std::string_view(std::getenv("KVTAPE_ISA")) : isa) +
             "' is not available here, wanted";
  for (const kernels::KernelTable* other : kernels::available()) {
    message += (other == kernels::available().front() ? " " : " or ") + std::string(other->isa);
  }
  throw base::Error(base::ErrorCode::invalid_argument, message);
}

}  // namespace kvtape::ops
