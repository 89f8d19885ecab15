#pragma once
// Named tensors of a model file, checked against the shape the architecture wants and repacked for the kernels.

#include <cstddef>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "ops/packing.h"

namespace kvtape::model {

// Tensor [n_rows, n_cols]. Throws corrupt_file where it is missing or of another shape, unsupported for its type.
ops::PackedWeights load_matrix(ops::Lease& lease, const gguf::GgufFile& file, const std::string& name,
                               std::size_t n_rows, std::size_t n_cols);

// Tensor [n] as float32; F32, F16 or BF16 in the file.
std::vector<float> load_vector(const gguf::GgufFile& file, const std::string& name, std::size_t n);

}  // namespace kvtape::model
