#pragma once
// The llama family (Touvron et al., 2023): pre-norm, rotary positions on pairs, grouped queries, SwiGLU; no biases.
// SmolLM2, Llama 2 and 3, Mistral.

#include <memory>

#include "model/architecture.h"
#include "model/weights.h"

namespace kvtape::model {

std::unique_ptr<const Architecture> make_llama(TensorLoader& loader, const Config& config);

}  // namespace kvtape::model
