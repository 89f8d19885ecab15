#pragma once
// The steps of a transformer's forward pass; an architecture puts them in its order.
//
// x is the residual stream, [n_tokens, dim]. Each step works on all tokens of the batch, and its bits for one of them do
// not depend on the others (docs/concepts/numerics.md).

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "kernels/activation/silu_mul.h"
#include "model/architecture.h"
#include "model/config.h"
#include "model/weights.h"
#include "ops/linear.h"
#include "ops/rope.h"

namespace kvtape::model {

class ForwardPass {
 public:
  ForwardPass(const ForwardArgs& args, const Config& config, const Weights& weights, Workspace& workspace)
      : args_(args), config_(config), weights_(weights), w_(workspace) {}

  // x = the tokens' rows of the embedding, times scale
  void embed(float scale = 1.0f);

  // q, k, v = norm(x) Wq^T, norm(x) Wk^T, norm(x) Wv^T, with their biases where the layer has some
  void project_qkv(const Layer& layer);
  // each head of q and k = its norm
  void norm_heads(const Layer& layer);
  // q, k = rope(q), rope(k)
  void rotate(const RopeTables& tables, ops::RopeStyle style);
  // writes k and v to the cache; attended = causal attention of q, over the last `window` positions (0: all)
  void attend(std::size_t layer_index, std::int32_t window = 0);
  // x += attended Wo^T; or x += post_norm(attended Wo^T)
  void add_attended(const Layer& layer);

  // x += (act(norm(x) Wgate^T) * norm(x) Wup^T) Wdown^T; or x += post_norm of that. gated_mul: act(gate) * up
  void add_feed_forward(const Layer& layer, kernels::SiluMul* gated_mul);

  // wanted = norm(x) Whead^T of the wanted rows, of the wanted ids; capped where the model says so
  void head();

 private:
  // activations = norm(x), in the form that their readers need
  void norm(const std::vector<float>& weight, ops::Int8Form form);
  // who of the wants comes first in the head, and which of its tiles hold ids that are named
  std::size_t order_wants();
  // x += activations weight^T, or post_norm of that where there is one
  void add_product(const ops::PackedWeights& weight, const std::vector<float>& post_norm);

  // Threads that wait fetch the first weights of this layer, or of the head behind the last.
  void fetch_layer(std::size_t index);

  [[nodiscard]] std::size_t n_tokens() const noexcept { return args_.batch.tokens.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return static_cast<std::size_t>(config_.dim); }
  [[nodiscard]] std::size_t head_dim() const noexcept { return static_cast<std::size_t>(config_.head_dim); }
  [[nodiscard]] std::size_t n_heads() const noexcept { return static_cast<std::size_t>(config_.n_heads); }
  [[nodiscard]] std::size_t n_kv_heads() const noexcept { return static_cast<std::size_t>(config_.n_kv_heads); }
  // rows of workspace.qkv: q's heads, then k's, then v's
  [[nodiscard]] std::size_t qkv_stride() const noexcept { return (n_heads() + 2 * n_kv_heads()) * head_dim(); }
  [[nodiscard]] float* q() const noexcept { return w_.qkv.data(); }
  [[nodiscard]] float* k() const noexcept { return q() + n_heads() * head_dim(); }
  [[nodiscard]] float* v() const noexcept { return k() + n_kv_heads() * head_dim(); }

  const ForwardArgs& args_;
  const Config& config_;
  const Weights& weights_;
  Workspace& w_;
};

}  // namespace kvtape::model
