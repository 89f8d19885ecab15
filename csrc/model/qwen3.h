#pragma once
// Qwen 3 (Yang et al., 2025), dense: Qwen 2 without the biases, and with a norm on each head of q and k.

#include <memory>

#include "model/architecture.h"
#include "model/weights.h"

namespace kvtape::model {

std::unique_ptr<const Architecture> make_qwen3(TensorLoader& loader, const Config& config);

}  // namespace kvtape::model
