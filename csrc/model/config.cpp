#include "model/config.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/error.h"

namespace kvtape::model {
namespace {

using base::Error;
using base::ErrorCode;

// Sizes beyond any model in sight: a larger one is a broken file, and products of two of them fit 64 bits.
constexpr std::uint32_t kMaxSize = 1u << 24;

std::int32_t checked(const std::string& key, std::uint64_t value) {
  if (value == 0 || value > kMaxSize) {
    throw Error(ErrorCode::corrupt_file,
                "model: key '" + key + "' is " + std::to_string(value) + ", wanted 1 to " + std::to_string(kMaxSize));
  }
  return static_cast<std::int32_t>(value);
}

// The number of `key`, or `otherwise` where it is absent. Throws corrupt_file unless it is positive and finite.
float positive(const gguf::Metadata& keys, const std::string& key, float otherwise) {
  const float value = keys.find<float>(key).value_or(otherwise);
  if (!(value > 0) || !std::isfinite(value)) {
    throw Error(ErrorCode::corrupt_file, "model: key '" + key + "' is not a positive number");
  }
  return value;
}

void read_rope(const gguf::GgufFile& file, const std::string& prefix, Config& config) {
  const auto& keys = file.metadata();
  config.rope.freq_base = positive(keys, prefix + "rope.freq_base", 10000.0f);
  const auto rotated = keys.find<std::uint32_t>(prefix + "rope.dimension_count").value_or(config.head_dim);
  if (static_cast<std::int32_t>(rotated) != config.head_dim) {
    throw Error(ErrorCode::unsupported, "model: rope turns " + std::to_string(rotated) + " of " +
                                            std::to_string(config.head_dim) +
                                            " dimensions of a head; only whole heads are supported");
  }
  const auto scaling = keys.find<std::string_view>(prefix + "rope.scaling.type").value_or("none");
  if (scaling == "linear") {
    config.rope.freq_scale = 1.0 / static_cast<double>(positive(keys, prefix + "rope.scaling.factor", 0.0f));
  } else if (scaling != "none") {
    throw Error(ErrorCode::unsupported, "model: rope scaling '" + std::string(scaling) + "'; supported: none, linear");
  }
  if (const auto* factors = file.find("rope_freqs.weight")) {
    const auto n = static_cast<std::size_t>(config.head_dim / 2);
    if (factors->dtype() != tensor::DType::f32 || factors->bytes.size() != n * sizeof(float)) {
      throw Error(ErrorCode::corrupt_file,
                  "model: tensor 'rope_freqs.weight' is not " + std::to_string(n) + " values of F32");
    }
    config.rope.freq_factors.resize(n);
    std::memcpy(config.rope.freq_factors.data(), factors->bytes.data(), factors->bytes.size());
  }
}

void read_gemma3(const gguf::Metadata& keys, const std::string& prefix, Config& config) {
  if (keys.contains(prefix + "attention.sliding_window")) {
    config.window =
        checked(prefix + "attention.sliding_window", keys.require<std::uint64_t>(prefix + "attention.sliding_window"));
    config.window_period = checked(prefix + "attention.sliding_window_pattern",
                                   keys.find<std::uint64_t>(prefix + "attention.sliding_window_pattern").value_or(6));
    config.window_rope.freq_base = positive(keys, prefix + "rope.freq_base_swa", 10000.0f);
  }
  if (keys.contains(prefix + "final_logit_softcapping")) {
    config.logit_softcap = positive(keys, prefix + "final_logit_softcapping", 0.0f);
  }
  if (keys.contains(prefix + "attn_logit_softcapping")) {  // Gemma 2 had it
    throw Error(ErrorCode::unsupported, "model: key '" + prefix + "attn_logit_softcapping' is not supported");
  }
  // The 27B model alone scales by the width of a head as if heads shared dim. No key says so.
  if (config.n_layers == 62) {
    config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.dim) / static_cast<float>(config.n_heads));
  }
}

}  // namespace

Config Config::from_gguf(const gguf::GgufFile& file) {
  const auto& keys = file.metadata();
  Config config;
  config.architecture = keys.require<std::string_view>("general.architecture");
  const std::string prefix = config.architecture + ".";
  const auto size = [&](const char* name) {
    return checked(prefix + name, keys.require<std::uint64_t>(prefix + name));
  };

  config.n_layers = size("block_count");
  config.dim = size("embedding_length");
  config.ffn_dim = size("feed_forward_length");
  config.n_heads = size("attention.head_count");
  config.n_ctx_train = size("context_length");
  const auto kv_key = prefix + "attention.head_count_kv";
  config.n_kv_heads = keys.contains(kv_key) ? size("attention.head_count_kv") : config.n_heads;
  if (keys.contains(prefix + "attention.key_length")) {
    config.head_dim = size("attention.key_length");
  } else {
    if (config.dim % config.n_heads != 0) {
      throw Error(ErrorCode::corrupt_file, "model: " + std::to_string(config.dim) + " dimensions do not divide into " +
                                               std::to_string(config.n_heads) + " heads");
    }
    config.head_dim = config.dim / config.n_heads;
  }
  if (const auto value_length = keys.find<std::uint32_t>(prefix + "attention.value_length").value_or(config.head_dim);
      static_cast<std::int32_t>(value_length) != config.head_dim) {
    throw Error(ErrorCode::unsupported, "model: values of " + std::to_string(value_length) +
                                            " dimensions beside keys of " + std::to_string(config.head_dim) +
                                            "; only equal ones are supported");
  }
  if (config.n_heads % config.n_kv_heads != 0) {
    throw Error(ErrorCode::corrupt_file, "model: " + std::to_string(config.n_heads) + " heads do not share " +
                                             std::to_string(config.n_kv_heads) + " KV heads evenly");
  }
  if (config.head_dim % 8 != 0 || config.head_dim > 256) {
    throw Error(ErrorCode::unsupported,
                "model: head dimension " + std::to_string(config.head_dim) + "; supported: multiples of 8 up to 256");
  }
  config.norm_eps = keys.require<float>(prefix + "attention.layer_norm_rms_epsilon");
  if (!(config.norm_eps >= 0) || !std::isfinite(config.norm_eps)) {
    throw Error(ErrorCode::corrupt_file,
                "model: key '" + prefix + "attention.layer_norm_rms_epsilon' is not a number from 0");
  }
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  config.vocab_size = checked("rows of tensor 'token_embd.weight'", file.require("token_embd.weight").n_rows());
  read_rope(file, prefix, config);
  if (config.architecture == "gemma3") read_gemma3(keys, prefix, config);
  return config;
}

RopeTables::RopeTables(const RopeSettings& settings, std::int32_t head_dim, std::int32_t n_ctx) {
  const auto half = static_cast<std::size_t>(head_dim / 2);
  cos.resize(static_cast<std::size_t>(n_ctx) * half);
  sin.resize(cos.size());
  for (std::size_t i = 0; i < half; ++i) {
    double frequency = std::pow(settings.freq_base, -2.0 * static_cast<double>(i) / head_dim) * settings.freq_scale;
    if (!settings.freq_factors.empty()) frequency /= static_cast<double>(settings.freq_factors[i]);
    for (std::size_t position = 0; position < static_cast<std::size_t>(n_ctx); ++position) {
      const double angle = static_cast<double>(position) * frequency;
      cos[position * half + i] = static_cast<float>(std::cos(angle));
      sin[position * half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace kvtape::model
