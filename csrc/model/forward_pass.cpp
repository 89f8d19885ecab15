#include "model/forward_pass.h"

#include <algorithm>
#include <span>
#include <utility>

#include "kernels/numerics.h"
#include "ops/activation.h"
#include "ops/attention.h"

namespace kvtape::model {
namespace {

constexpr std::size_t kTokensPerTask = 8;  // of steps that work row by row

// run(begin, n) for all rows, some a task.
template <class Run>
void by_rows(ops::Lease& lease, std::size_t n_rows, const Run& run) {
  lease.parallel_for((n_rows + kTokensPerTask - 1) / kTokensPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t begin = task * kTokensPerTask;
    run(begin, std::min(kTokensPerTask, n_rows - begin));
  });
}

// What the activations need that these matrices read.
ops::Int8Form int8_form(std::initializer_list<const ops::PackedWeights*> readers) {
  const bool quantized = std::ranges::any_of(readers, [](const auto* reader) { return reader->quantized(); });
  return quantized ? ops::Int8Form::once : ops::Int8Form::none;
}

const float* data_or_null(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

}  // namespace

void ForwardPass::embed(float scale) {
  fetch_layer(0);
  args_.lease.parallel_for(n_tokens(), [&](std::size_t t, std::size_t) {
    const std::span<float> row{w_.x.data() + t * dim(), dim()};
    ops::dequantize_row(weights_.embedding, static_cast<std::size_t>(args_.batch.tokens[t]), row);
    if (scale != 1.0f) std::ranges::for_each(row, [scale](float& value) { value *= scale; });
  });
}

void ForwardPass::project_qkv(const Layer& layer) {
  norm(layer.attention_norm, int8_form({&layer.wq, &layer.wk, &layer.wv}));
  const auto job = [&](const ops::PackedWeights& weight, float* y, const std::vector<float>& bias) {
    return ops::MatmulJob{
        .w = &weight, .x = &w_.activations, .y = y, .y_stride = qkv_stride(), .bias = data_or_null(bias)};
  };
  const ops::MatmulJob jobs[] = {job(layer.wq, q(), layer.q_bias), job(layer.wk, k(), layer.k_bias),
                                 job(layer.wv, v(), layer.v_bias)};
  ops::fetch_soon(args_.lease, {&layer.wo});
  ops::matmul_many(args_.lease, args_.kernel, jobs);
}

void ForwardPass::norm_heads(const Layer& layer) {
  by_rows(args_.lease, n_tokens(), [&](std::size_t begin, std::size_t n) {
    for (std::size_t t = begin; t < begin + n; ++t) {
      const auto norm_in_place = [&](float* heads, const std::vector<float>& weight, std::size_t n_rows) {
        args_.kernel.rms_norm(heads, weight.data(), heads, n_rows, head_dim(), config_.norm_eps);
      };
      norm_in_place(q() + t * qkv_stride(), layer.q_norm, n_heads());
      norm_in_place(k() + t * qkv_stride(), layer.k_norm, n_kv_heads());
    }
  });
}

void ForwardPass::rotate(const RopeTables& tables, ops::RopeStyle style) {
  const kernels::RopeArgs rope{.x = q(),
                               .x_stride = qkv_stride(),
                               .positions = w_.positions.data(),
                               .cos = tables.cos.data(),
                               .sin = tables.sin.data(),
                               .n_rows = n_tokens(),
                               .n_heads = n_heads() + n_kv_heads(),  // k follows q
                               .head_dim = head_dim()};
  ops::rope(args_.lease, args_.kernel, style, rope, tables.cos.size() / (head_dim() / 2));
}

void ForwardPass::attend(std::size_t layer_index, std::int32_t window) {
  ops::write_kv(args_.lease, args_.kernel, args_.pool, layer_index, k(), qkv_stride(), v(), qkv_stride(), w_.spans);
  const ops::AttentionQueries queries{.q = q(),
                                      .q_stride = qkv_stride(),
                                      .n_heads = n_heads(),
                                      .scale = config_.attention_scale,
                                      .out = w_.attended.data(),
                                      .out_stride = n_heads() * head_dim(),
                                      .window = static_cast<std::size_t>(window)};
  ops::attention(args_.lease, args_.kernel, args_.pool, layer_index, queries, w_.spans, w_.attention);
}

void ForwardPass::add_attended(const Layer& layer) {
  const std::size_t n_q = n_heads() * head_dim();
  w_.activations.set(args_.lease, args_.kernel, w_.attended.data(), n_q, n_tokens(), n_q, int8_form({&layer.wo}));
  ops::fetch_soon(args_.lease, {&layer.gate, &layer.up});
  add_product(layer.wo, layer.post_attention_norm);
}

void ForwardPass::add_feed_forward(const Layer& layer, kernels::SiluMul* gated_mul) {
  const auto ffn_dim = static_cast<std::size_t>(config_.ffn_dim);
  norm(layer.ffn_norm, int8_form({&layer.gate, &layer.up}));
  const ops::MatmulJob jobs[] = {{&layer.gate, &w_.activations, w_.gate.data(), ffn_dim},
                                 {&layer.up, &w_.activations, w_.up.data(), ffn_dim}};
  ops::fetch_soon(args_.lease, {&layer.down});
  ops::matmul_many(args_.lease, args_.kernel, jobs);
  w_.activations.set(args_.lease, args_.kernel, w_.gate.data(), ffn_dim, n_tokens(), ffn_dim, int8_form({&layer.down}),
                     [&](std::size_t begin, std::size_t n) {
                       float* gate = w_.gate.data() + begin * ffn_dim;
                       gated_mul(gate, w_.up.data() + begin * ffn_dim, gate, n * ffn_dim);
                     });
  fetch_layer(static_cast<std::size_t>(&layer - weights_.layers.data()) + 1);
  add_product(layer.down, layer.post_ffn_norm);
}

// The head is the largest matrix: only wanted rows meet it, and rows that name ids only the tiles that hold some of them.
// Tiles are those of any row's ids, so that rows of one choice share one pass over its weights.
void ForwardPass::head() {
  const std::span<const Want> wants = args_.batch.wants;
  if (wants.empty()) return;
  const ops::PackedWeights& head = weights_.head();
  // 8 bits here are a third of the whole error in the logits (KL 0.0029 to 0.0020), and cost a decode step little: the
  // head waits for memory.
  const ops::Int8Form form = head.quantized() ? ops::Int8Form::twice : ops::Int8Form::none;
  const std::size_t n_whole = order_wants(), n_choices = wants.size() - n_whole, vocab_size = head.n_rows();
  const auto set = [&](ops::ActivationBuffer& rows, std::size_t first, std::size_t n_rows) {
    float* h = w_.h.data() + first * dim();
    rows.set(args_.lease, args_.kernel, h, dim(), n_rows, dim(), form, [&](std::size_t begin, std::size_t n) {
      for (std::size_t i = begin; i < begin + n; ++i) {
        const float* x = w_.x.data() + static_cast<std::size_t>(wants[w_.order[first + i]].token) * dim();
        args_.kernel.rms_norm(x, weights_.output_norm.data(), h + i * dim(), 1, dim(), config_.norm_eps);
      }
    });
  };
  float *whole = w_.logits.data(), *choices = whole + 2 * n_whole * vocab_size;
  ops::MatmulJob jobs[2];
  std::size_t n_jobs = 0;
  if (n_whole > 0) {
    set(w_.activations, 0, n_whole);
    jobs[n_jobs++] = {&head, &w_.activations, whole, vocab_size};
  }
  if (n_choices > 0) {
    set(w_.choices, n_whole, n_choices);
    jobs[n_jobs++] = {.w = &head, .x = &w_.choices, .y = choices, .y_stride = vocab_size, .tiles = w_.tiles};
  }
  ops::matmul_many(args_.lease, args_.kernel, {jobs, n_jobs});

  for (std::size_t i = 0; i < wants.size(); ++i) {
    const std::span<const std::int32_t> ids = wants[w_.order[i]].ids;
    float* row = i < n_whole ? whole + i * vocab_size : choices + (i - n_whole) * vocab_size;
    for (std::size_t place = 0; place < ids.size(); ++place) row[place] = row[ids[place]];  // ids ascend: place <= id
    const std::span<float> wanted(row, ids.empty() ? vocab_size : ids.size());
    if (config_.logit_softcap > 0) ops::softcap(args_.lease, args_.kernel, wanted, config_.logit_softcap);
    w_.wanted[w_.order[i]] = wanted;
  }
}

// Fills workspace.order and workspace.tiles; returns how many want all logits.
std::size_t ForwardPass::order_wants() {
  const std::span<const Want> wants = args_.batch.wants;
  w_.order.clear();
  w_.tiles.clear();
  for (const bool whole : {true, false}) {
    for (std::size_t i = 0; i < wants.size(); ++i) {
      if (wants[i].ids.empty() == whole) w_.order.push_back(i);
    }
  }
  const auto n_whole =
      static_cast<std::size_t>(std::ranges::count_if(wants, [](const Want& w) { return w.ids.empty(); }));
  if (n_whole == wants.size()) return n_whole;
  for (const Want& want : wants) {
    for (const std::int32_t id : want.ids) w_.named[static_cast<std::size_t>(id) / kernels::kTileRows] = 1;
  }
  for (std::size_t tile = 0; tile < w_.named.size(); ++tile) {
    if (std::exchange(w_.named[tile], 0) != 0) w_.tiles.push_back(tile);
  }
  return n_whole;
}

void ForwardPass::fetch_layer(std::size_t index) {
  if (index == weights_.layers.size()) {
    const bool whole = std::ranges::any_of(args_.batch.wants, [](const Want& want) { return want.ids.empty(); });
    if (whole) ops::fetch_soon(args_.lease, {&weights_.head()});
    return;
  }
  const Layer& layer = weights_.layers[index];
  ops::fetch_soon(args_.lease, {&layer.wq, &layer.wk, &layer.wv});
}

void ForwardPass::norm(const std::vector<float>& weight, ops::Int8Form form) {
  w_.activations.set(args_.lease, args_.kernel, w_.h.data(), dim(), n_tokens(), dim(), form,
                     [&](std::size_t begin, std::size_t n) {
                       args_.kernel.rms_norm(w_.x.data() + begin * dim(), weight.data(), w_.h.data() + begin * dim(), n,
                                             dim(), config_.norm_eps);
                     });
}

void ForwardPass::add_product(const ops::PackedWeights& weight, const std::vector<float>& post_norm) {
  const bool at_once = post_norm.empty();
  const ops::MatmulJob job{.w = &weight,
                           .x = &w_.activations,
                           .y = w_.h.data(),
                           .y_stride = dim(),
                           .add_to = at_once ? w_.x.data() : nullptr};
  ops::matmul_many(args_.lease, args_.kernel, {&job, 1});
  if (at_once) return;
  by_rows(args_.lease, n_tokens(), [&](std::size_t begin, std::size_t n) {
    float *x = w_.x.data() + begin * dim(), *h = w_.h.data() + begin * dim();
    args_.kernel.rms_norm(h, post_norm.data(), h, n, dim(), config_.norm_eps);
    for (std::size_t i = 0; i < n * dim(); ++i) x[i] += h[i];
  });
}

}  // namespace kvtape::model
