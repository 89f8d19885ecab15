#include "model/weights.h"

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "tensor/half.h"

namespace kvtape::model {
namespace {

using base::Error;
using base::ErrorCode;

const gguf::TensorInfo& require(const gguf::GgufFile& file, const std::string& name,
                                std::vector<std::uint64_t> wanted) {
  const auto& tensor = file.require(name);
  auto dims = tensor.dims;
  while (dims.size() > wanted.size() && dims.back() == 1) dims.pop_back();  // writers may pad with ones
  if (dims != wanted) {
    const auto words = [](const std::vector<std::uint64_t>& sizes) {
      std::string text;
      for (const auto size : sizes) text += (text.empty() ? "" : " x ") + std::to_string(size);
      return text;
    };
    throw Error(ErrorCode::corrupt_file,
                "model: tensor '" + name + "' is " + words(tensor.dims) + ", wanted " + words(wanted));
  }
  return tensor;
}

}  // namespace

ops::PackedWeights load_matrix(ops::Lease& lease, const gguf::GgufFile& file, const std::string& name,
                               std::size_t n_rows, std::size_t n_cols) {
  const auto& tensor = require(file, name, {n_cols, n_rows});
  return ops::pack(lease, tensor.dtype(), n_rows, n_cols, tensor.bytes);
}

std::vector<float> load_vector(const gguf::GgufFile& file, const std::string& name, std::size_t n) {
  const auto& tensor = require(file, name, {n});
  std::vector<float> values(n);
  const auto convert = [&](float (*to_f32)(std::uint16_t)) {
    for (std::size_t i = 0; i < n; ++i) {
      std::uint16_t half;
      std::memcpy(&half, tensor.bytes.data() + i * sizeof half, sizeof half);
      values[i] = to_f32(half);
    }
  };
  switch (tensor.dtype()) {
    case tensor::DType::f32: std::memcpy(values.data(), tensor.bytes.data(), n * sizeof(float)); break;
    case tensor::DType::f16: convert(tensor::f16_to_f32); break;
    case tensor::DType::bf16: convert(tensor::bf16_to_f32); break;
    default:
      throw Error(ErrorCode::unsupported, "model: vector '" + name + "' has type " +
                                              std::string(tensor::info(tensor.dtype()).name) +
                                              ", wanted F32, F16 or BF16");
  }
  return values;
}

}  // namespace kvtape::model
