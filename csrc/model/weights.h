#pragma once
// The weights of a model file, checked against the shapes the architecture wants and repacked for the kernels.

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"
#include "model/config.h"
#include "ops/packing.h"

namespace kvtape::model {

// Takes tensors of a file by name, and knows which of them nobody took.
class TensorLoader {
 public:
  TensorLoader(ops::Lease& lease, const gguf::GgufFile& file) : lease_(lease), file_(file) {}

  [[nodiscard]] bool has(const std::string& name) const { return file_.find(name) != nullptr; }

  // Tensor [n_rows, n_cols]. Throws corrupt_file where it is missing or of another shape, unsupported for its type.
  ops::PackedWeights matrix(const std::string& name, std::size_t n_rows, std::size_t n_cols);

  // Tensor [n] as float32; F32, F16 or BF16 in the file.
  std::vector<float> vector(const std::string& name, std::size_t n);

  // Throws unsupported, naming a tensor, where the file has more than was taken: leaving it out would change answers.
  void require_all_taken(std::string_view architecture) const;

 private:
  ops::Lease& lease_;
  const gguf::GgufFile& file_;
  base::Arena arena_;
  std::set<std::string, std::less<>> taken_;
};

// n_q = n_heads * head_dim, n_kv = n_kv_heads * head_dim. What an architecture does not have is empty.
struct Layer {
  std::vector<float> attention_norm;                // [dim]
  ops::PackedWeights wq, wk, wv, wo;                // [n_q, dim], [n_kv, dim] twice, [dim, n_q]
  std::vector<float> q_bias{}, k_bias{}, v_bias{};  // [n_q], [n_kv] twice
  std::vector<float> q_norm{}, k_norm{};            // [head_dim]
  std::vector<float> post_attention_norm{};         // [dim]
  std::vector<float> ffn_norm;                      // [dim]
  ops::PackedWeights gate, up, down;                // [ffn_dim, dim] twice, [dim, ffn_dim]
  std::vector<float> post_ffn_norm{};               // [dim]
};

struct Weights {
  ops::PackedWeights embedding;    // [vocab_size, dim]
  ops::PackedWeights own_head;     // the same, where it is not tied
  std::vector<float> output_norm;  // [dim]
  std::vector<Layer> layers;

  [[nodiscard]] const ops::PackedWeights& head() const noexcept { return own_head.n_rows() > 0 ? own_head : embedding; }
};

// What an architecture has beyond llama.
struct Extras {
  bool qkv_biases = false, head_norms = false, post_norms = false;
};

Weights load_weights(TensorLoader& loader, const Config& config, const Extras& extras);

}  // namespace kvtape::model
