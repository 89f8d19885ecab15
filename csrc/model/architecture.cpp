#include "model/architecture.h"

#include <string_view>

#include "base/error.h"
#include "kernels/numerics.h"
#include "model/gemma3.h"
#include "model/llama.h"
#include "model/qwen2.h"
#include "model/qwen3.h"
#include "model/weights.h"

namespace kvtape::model {
namespace {

using Factory = std::unique_ptr<const Architecture> (*)(TensorLoader&, const Config&);

struct Row {
  const char* name;
  Factory make;
};

constexpr Row kArchitectures[] = {
    {"llama", make_llama},
    {"qwen2", make_qwen2},
    {"qwen3", make_qwen3},
    {"gemma3", make_gemma3},
};

Factory factory_of(std::string_view architecture) {
  std::string known;
  for (const Row& row : kArchitectures) {
    if (architecture == row.name) return row.make;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw base::Error(base::ErrorCode::unsupported,
                    "model: architecture '" + std::string(architecture) + "'; supported: " + known);
}

}  // namespace

void Workspace::prepare(const Config& config, const Batch& batch) {
  const std::size_t n_tokens = batch.tokens.size();
  const auto head_dim = static_cast<std::size_t>(config.head_dim);
  const auto n_q = static_cast<std::size_t>(config.n_heads) * head_dim;
  const auto n_kv = static_cast<std::size_t>(config.n_kv_heads) * head_dim;
  x.reserve_discard(n_tokens * static_cast<std::size_t>(config.dim));
  h.reserve_discard(n_tokens * static_cast<std::size_t>(config.dim));
  qkv.reserve_discard(n_tokens * (n_q + 2 * n_kv));
  attended.reserve_discard(n_tokens * n_q);
  gate.reserve_discard(n_tokens * static_cast<std::size_t>(config.ffn_dim));
  up.reserve_discard(n_tokens * static_cast<std::size_t>(config.ffn_dim));
  logits.reserve_discard(2 * batch.wants.size() * static_cast<std::size_t>(config.vocab_size));

  named.resize((static_cast<std::size_t>(config.vocab_size) + kernels::kTileRows - 1) / kernels::kTileRows);
  wanted.resize(batch.wants.size());

  positions.clear();
  spans.clear();
  for (const RowSpan& row : batch.rows) {
    for (std::int32_t i = 0; i < row.n_tokens; ++i) positions.push_back(row.position + i);
    spans.push_back({.first_row = static_cast<std::size_t>(row.first),
                     .n_rows = static_cast<std::size_t>(row.n_tokens),
                     .first_position = row.position,
                     .blocks = row.blocks,
                     .group = static_cast<std::size_t>(row.group),
                     .shared_len = static_cast<std::size_t>(row.shared_len),
                     .hole = row.hole});
  }
}

std::shared_ptr<const Model> load_model(const gguf::GgufFile& file, std::size_t n_threads) {
  const Factory make = factory_of(file.metadata().require<std::string_view>("general.architecture"));
  auto model = std::make_shared<Model>();
  model->config = Config::from_gguf(file);
  for (const auto& tensor : file.tensors()) {
    std::size_t n = 1;
    for (const auto size : tensor.dims) n *= size;
    model->n_params += n;
    model->n_bytes += tensor.bytes.size();
  }
  ops::Lease lease(base::ThreadPool::shared(), n_threads);
  TensorLoader loader(lease, file);
  model->architecture = make(loader, model->config);
  loader.require_all_taken(model->config.architecture);
  file.drop_pages();  // everything has been repacked
  return model;
}

}  // namespace kvtape::model
