#pragma once
// Gemma 3 (Kamath et al., 2025), text: embeddings times sqrt(dim), a norm before and one after each half of a layer, norms
// on the heads of q and k, GEGLU. Five layers of six see a sliding window only and have a rope of their own. A file's norm
// weights already hold the 1 that the paper adds to them.

#include <memory>

#include "model/architecture.h"
#include "model/weights.h"

namespace kvtape::model {

std::unique_ptr<const Architecture> make_gemma3(TensorLoader& loader, const Config& config);

}  // namespace kvtape::model
