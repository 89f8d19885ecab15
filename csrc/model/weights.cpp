#include "model/weights.h"

#include <cstdint>
#include <cstring>
#include <utility>

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

ops::PackedWeights TensorLoader::matrix(const std::string& name, std::size_t n_rows, std::size_t n_cols) {
  const auto& tensor = require(file_, name, {n_cols, n_rows});
  taken_.insert(name);
  return ops::pack(lease_, arena_, tensor.dtype(), n_rows, n_cols, tensor.bytes);
}

std::vector<float> TensorLoader::vector(const std::string& name, std::size_t n) {
  const auto& tensor = require(file_, name, {n});
  taken_.insert(name);
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

void TensorLoader::require_all_taken(std::string_view architecture) const {
  for (const auto& tensor : file_.tensors()) {
    if (tensor.name == "rope_freqs.weight" || taken_.contains(tensor.name)) continue;  // rope_freqs: Config reads it
    throw Error(ErrorCode::unsupported, "model: tensor '" + std::string(tensor.name) + "' has no place in a " +
                                            std::string(architecture) + " model as this version knows it");
  }
}

Weights load_weights(TensorLoader& loader, const Config& config, const Extras& extras) {
  const auto dim = static_cast<std::size_t>(config.dim), ffn_dim = static_cast<std::size_t>(config.ffn_dim);
  const auto vocab_size = static_cast<std::size_t>(config.vocab_size);
  const auto head_dim = static_cast<std::size_t>(config.head_dim);
  const auto n_q = static_cast<std::size_t>(config.n_heads) * head_dim;
  const auto n_kv = static_cast<std::size_t>(config.n_kv_heads) * head_dim;
  Weights weights;
  weights.embedding = loader.matrix("token_embd.weight", vocab_size, dim);
  if (loader.has("output.weight")) weights.own_head = loader.matrix("output.weight", vocab_size, dim);
  weights.output_norm = loader.vector("output_norm.weight", dim);
  for (std::int32_t i = 0; i < config.n_layers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    Layer layer{.attention_norm = loader.vector(block + "attn_norm.weight", dim),
                .wq = loader.matrix(block + "attn_q.weight", n_q, dim),
                .wk = loader.matrix(block + "attn_k.weight", n_kv, dim),
                .wv = loader.matrix(block + "attn_v.weight", n_kv, dim),
                .wo = loader.matrix(block + "attn_output.weight", dim, n_q),
                .ffn_norm = loader.vector(block + "ffn_norm.weight", dim),
                .gate = loader.matrix(block + "ffn_gate.weight", ffn_dim, dim),
                .up = loader.matrix(block + "ffn_up.weight", ffn_dim, dim),
                .down = loader.matrix(block + "ffn_down.weight", dim, ffn_dim)};
    if (extras.qkv_biases) {
      layer.q_bias = loader.vector(block + "attn_q.bias", n_q);
      layer.k_bias = loader.vector(block + "attn_k.bias", n_kv);
      layer.v_bias = loader.vector(block + "attn_v.bias", n_kv);
    }
    if (extras.head_norms) {
      layer.q_norm = loader.vector(block + "attn_q_norm.weight", head_dim);
      layer.k_norm = loader.vector(block + "attn_k_norm.weight", head_dim);
    }
    if (extras.post_norms) {
      layer.post_attention_norm = loader.vector(block + "post_attention_norm.weight", dim);
      layer.post_ffn_norm = loader.vector(block + "post_ffw_norm.weight", dim);
    }
    weights.layers.push_back(std::move(layer));
  }
  return weights;
}

}  // namespace kvtape::model
