#include "model/llama.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "base/error.h"
#include "model/weights.h"
#include "ops/rope.h"

namespace kvtape::model {
namespace {

// What the activations need that these matrices read.
ops::Int8Form int8_form(std::initializer_list<const ops::PackedWeights*> readers) {
  const bool quantized = std::ranges::any_of(readers, [](const auto* reader) { return reader->quantized(); });
  return quantized ? ops::Int8Form::once : ops::Int8Form::none;
}

struct Layer {
  std::vector<float> attention_norm, ffn_norm;  // [dim]
  ops::PackedWeights wq, wk, wv, wo;            // [n_q, dim], [n_kv, dim] twice, [dim, n_q]
  ops::PackedWeights gate, up, down;            // [ffn_dim, dim] twice, [dim, ffn_dim]
};

class Llama final : public Architecture {
 public:
  Llama(ops::Lease& lease, const gguf::GgufFile& file, const Config& config) : config_(config) {
    const auto dim = static_cast<std::size_t>(config.dim), ffn_dim = static_cast<std::size_t>(config.ffn_dim);
    const auto vocab_size = static_cast<std::size_t>(config.vocab_size);
    embedding_ = load_matrix(lease, file, "token_embd.weight", vocab_size, dim);
    if (file.find("output.weight") != nullptr) head_ = load_matrix(lease, file, "output.weight", vocab_size, dim);
    output_norm_ = load_vector(file, "output_norm.weight", dim);
    for (std::int32_t i = 0; i < config.n_layers; ++i) {
      const auto name = [i](const char* tensor) { return "blk." + std::to_string(i) + "." + tensor + ".weight"; };
      layers_.push_back({.attention_norm = load_vector(file, name("attn_norm"), dim),
                         .ffn_norm = load_vector(file, name("ffn_norm"), dim),
                         .wq = load_matrix(lease, file, name("attn_q"), n_q(), dim),
                         .wk = load_matrix(lease, file, name("attn_k"), n_kv(), dim),
                         .wv = load_matrix(lease, file, name("attn_v"), n_kv(), dim),
                         .wo = load_matrix(lease, file, name("attn_output"), dim, n_q()),
                         .gate = load_matrix(lease, file, name("ffn_gate"), ffn_dim, dim),
                         .up = load_matrix(lease, file, name("ffn_up"), ffn_dim, dim),
                         .down = load_matrix(lease, file, name("ffn_down"), dim, ffn_dim)});
      if (file.find("blk." + std::to_string(i) + ".attn_q.bias") != nullptr) {
        throw base::Error(base::ErrorCode::unsupported, "model: a llama file with attention biases is not supported");
      }
    }
  }

  void forward(const ForwardArgs& args, Workspace& w) const override {
    const std::size_t n_tokens = args.batch.tokens.size(), dim = static_cast<std::size_t>(config_.dim);
    args.lease.parallel_for(n_tokens, [&](std::size_t t, std::size_t) {
      ops::dequantize_row(embedding_, static_cast<std::size_t>(args.batch.tokens[t]), {w.x.data() + t * dim, dim});
    });
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      attend(args, w, i);
      feed_forward(args, w, layers_[i]);
    }
    head(args, w);
  }

 private:
  [[nodiscard]] std::size_t head_dim() const { return static_cast<std::size_t>(config_.head_dim); }
  [[nodiscard]] std::size_t n_q() const { return static_cast<std::size_t>(config_.n_heads) * head_dim(); }
  [[nodiscard]] std::size_t n_kv() const { return static_cast<std::size_t>(config_.n_kv_heads) * head_dim(); }

  // w.activations = norm of the first n_rows of x
  void normed(const ForwardArgs& args, Workspace& w, std::size_t n_rows, const std::vector<float>& weight,
              ops::Int8Form form) const {
    const std::size_t dim = weight.size();
    w.activations.set(args.lease, args.kernel, w.h.data(), dim, n_rows, dim, form,
                      [&](std::size_t begin, std::size_t n) {
                        args.kernel.rms_norm(w.x.data() + begin * dim, weight.data(), w.h.data() + begin * dim, n, dim,
                                             config_.norm_eps);
                      });
  }

  // x += y W^T, where y is in w.activations
  void add_product(const ForwardArgs& args, Workspace& w, const ops::PackedWeights& weight) const {
    const ops::MatmulJob job{&weight, &w.activations, w.h.data(), weight.n_rows(), w.x.data()};
    ops::matmul_many(args.lease, args.kernel, {&job, 1});
  }

  void attend(const ForwardArgs& args, Workspace& w, std::size_t index) const {
    const Layer& layer = layers_[index];
    const std::size_t n_tokens = args.batch.tokens.size();
    const std::size_t stride = n_q() + 2 * n_kv();
    float* const q = w.qkv.data();
    float* const k = q + n_q();
    float* const v = k + n_kv();

    normed(args, w, n_tokens, layer.attention_norm, int8_form({&layer.wq, &layer.wk, &layer.wv}));
    const ops::MatmulJob jobs[] = {{&layer.wq, &w.activations, q, stride},
                                   {&layer.wk, &w.activations, k, stride},
                                   {&layer.wv, &w.activations, v, stride}};
    ops::matmul_many(args.lease, args.kernel, jobs);

    kernels::RopeArgs rope{.x = q,
                           .x_stride = stride,
                           .positions = w.positions.data(),
                           .cos = args.rope.cos.data(),
                           .sin = args.rope.sin.data(),
                           .n_rows = n_tokens,
                           .n_heads = static_cast<std::size_t>(config_.n_heads + config_.n_kv_heads),  // k follows q
                           .head_dim = head_dim()};
    ops::rope(args.lease, args.kernel, ops::RopeStyle::pairs, rope, args.rope.cos.size() / (head_dim() / 2));
    ops::write_kv(args.kernel, args.pool, index, k, stride, v, stride, w.spans);

    const ops::AttentionQueries queries{.q = q,
                                        .q_stride = stride,
                                        .n_heads = static_cast<std::size_t>(config_.n_heads),
                                        .scale = 1.0f / std::sqrt(static_cast<float>(head_dim())),
                                        .out = w.attended.data(),
                                        .out_stride = n_q()};
    ops::attention(args.lease, args.kernel, args.pool, index, queries, w.spans, w.attention);
    w.activations.set(args.lease, args.kernel, w.attended.data(), n_q(), n_tokens, n_q(), int8_form({&layer.wo}));
    add_product(args, w, layer.wo);
  }

  void feed_forward(const ForwardArgs& args, Workspace& w, const Layer& layer) const {
    const std::size_t n_tokens = args.batch.tokens.size(), ffn_dim = layer.gate.n_rows();
    normed(args, w, n_tokens, layer.ffn_norm, int8_form({&layer.gate, &layer.up}));
    const ops::MatmulJob jobs[] = {{&layer.gate, &w.activations, w.gate.data(), ffn_dim},
                                   {&layer.up, &w.activations, w.up.data(), ffn_dim}};
    ops::matmul_many(args.lease, args.kernel, jobs);
    w.activations.set(args.lease, args.kernel, w.gate.data(), ffn_dim, n_tokens, ffn_dim, int8_form({&layer.down}),
                      [&](std::size_t begin, std::size_t n) {
                        float* gate = w.gate.data() + begin * ffn_dim;
                        args.kernel.silu_mul(gate, w.up.data() + begin * ffn_dim, gate, n * ffn_dim);
                      });
    add_product(args, w, layer.down);
  }

  // Logits of the wanted rows only: the head is the largest matrix.
  void head(const ForwardArgs& args, Workspace& w) const {
    const std::size_t n_wants = args.batch.wants.size(), dim = static_cast<std::size_t>(config_.dim);
    if (n_wants == 0) return;
    for (std::size_t i = 0; i < n_wants; ++i) {  // wants ascend, so no row is overwritten before it is read
      const float* row = w.x.data() + static_cast<std::size_t>(args.batch.wants[i]) * dim;
      std::copy(row, row + dim, w.x.data() + i * dim);
    }
    const ops::PackedWeights& head = head_.n_rows() > 0 ? head_ : embedding_;  // tied where the file has no own
    // 8 bits here are a third of the whole error in the logits (KL 0.0029 to 0.0020), and cost a decode step little: the
    // head waits for memory.
    normed(args, w, n_wants, output_norm_, head.quantized() ? ops::Int8Form::twice : ops::Int8Form::none);
    ops::matmul(args.lease, args.kernel, head, w.activations, w.logits.data(), head.n_rows());
  }

  Config config_;
  ops::PackedWeights embedding_, head_;
  std::vector<float> output_norm_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<const Architecture> make_llama(ops::Lease& lease, const gguf::GgufFile& file, const Config& config) {
  return std::make_unique<Llama>(lease, file, config);
}

}  // namespace kvtape::model
