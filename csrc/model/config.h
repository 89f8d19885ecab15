#pragma once
// What a model file says about itself: sizes, and the settings of norms, rope, attention and logits.

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/reader.h"

namespace kvtape::model {

struct RopeSettings {
  double freq_base = 10000.0;
  double freq_scale = 1.0;          // linear scaling divides positions by its factor
  std::vector<float> freq_factors;  // [head_dim / 2] divisors of the frequencies (Llama 3.1), or empty
};

struct Config {
  std::string architecture;
  std::int32_t n_layers = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
  std::int32_t dim = 0, ffn_dim = 0, vocab_size = 0;
  std::int32_t n_ctx_train = 0;
  float norm_eps = 0;
  float attention_scale = 0;  // of q k
  RopeSettings rope;
  // Gemma: but for each window_period-th layer, layers see the last `window` positions and have a rope of their own.
  std::int32_t window = 0, window_period = 0;
  RopeSettings window_rope;
  float logit_softcap = 0;  // 0: none

  [[nodiscard]] bool windowed(std::size_t layer) const noexcept {
    return window > 0 && (layer + 1) % static_cast<std::size_t>(window_period) != 0;
  }

  // Throws corrupt_file where a key or tensor is missing or absurd, unsupported where a setting is not known here.
  static Config from_gguf(const gguf::GgufFile& file);
};

// cos and sin of every position: [n_ctx, head_dim / 2] each, computed in float64.
struct RopeTables {
  std::vector<float> cos, sin;
  RopeTables(const RopeSettings& settings, std::int32_t head_dim, std::int32_t n_ctx);
};

}  // namespace kvtape::model
