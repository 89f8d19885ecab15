#include "model/cpu_runner.h"

#include <cstring>
#include <string>

#include "base/error.h"

namespace kvtape::model {
namespace {

ops::KvLayout layout_of(const Config& config, kernels::KvType type) {
  return {.n_layers = static_cast<std::size_t>(config.n_layers),
          .n_kv_heads = static_cast<std::size_t>(config.n_kv_heads),
          .head_dim = static_cast<std::size_t>(config.head_dim),
          .block_size = static_cast<std::size_t>(kBlockSize),
          .type = type};
}

}  // namespace

std::size_t CpuRunner::block_bytes(const Config& config, kernels::KvType type) noexcept {
  return layout_of(config, type).block_bytes();
}

std::size_t CpuRunner::kv_bytes_for(const Config& config, kernels::KvType type, std::int32_t n_ctx) noexcept {
  const auto n_blocks = static_cast<std::size_t>((n_ctx + kBlockSize - 1) / kBlockSize) + 1;  // one to copy into
  return n_blocks * block_bytes(config, type);
}

CpuRunner::CpuRunner(std::shared_ptr<const Model> model, const kernels::KernelTable& kernel, const Options& options)
    : model_(std::move(model)),
      kernel_(kernel),
      n_ctx_(options.n_ctx),
      n_threads_(options.n_threads),
      rope_(model_->config.rope, model_->config.head_dim, options.n_ctx),
      window_rope_(model_->config.window_rope, model_->config.head_dim, model_->config.window > 0 ? options.n_ctx : 0),
      kv_{.layout = layout_of(model_->config, options.kv_type),
          .data = nullptr,
          .n_blocks = options.kv_bytes / block_bytes(model_->config, options.kv_type)} {
  if (options.kv_bytes < kv_bytes_for(model_->config, options.kv_type, options.n_ctx)) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "cpu runner: " + std::to_string(options.kv_bytes) + " bytes of KV memory for a context of " +
                          std::to_string(options.n_ctx) + " tokens, wanted at least " +
                          std::to_string(kv_bytes_for(model_->config, options.kv_type, options.n_ctx)));
  }
  pool_ = base::AlignedBuffer<std::byte>(kv_.n_blocks * kv_.layout.block_bytes());
  kv_.data = pool_.data();
}

std::span<const std::span<const float>> CpuRunner::forward(const Batch& batch) {
  workspace_.prepare(model_->config, batch);
  ops::Lease lease(base::ThreadPool::shared(), n_threads_);
  model_->architecture->forward({lease, kernel_, batch, rope_, window_rope_, kv_}, workspace_);
  return workspace_.wanted;
}

void CpuRunner::copy_blocks(std::span<const BlockPair> pairs) {
  const std::size_t n = kv_.layout.block_bytes();
  for (const auto [from, to] : pairs) {
    std::memcpy(kv_.data + static_cast<std::size_t>(to) * n, kv_.data + static_cast<std::size_t>(from) * n, n);
  }
}

}  // namespace kvtape::model
