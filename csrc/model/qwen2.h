#pragma once
// Qwen 2 and 2.5 (Yang et al., 2024): llama with biases on q, k and v, and rotary positions on halves.

#include <memory>

#include "model/architecture.h"
#include "model/weights.h"

namespace kvtape::model {

std::unique_ptr<const Architecture> make_qwen2(TensorLoader& loader, const Config& config);

}  // namespace kvtape::model
