#pragma once
// Runs batches on the CPU: owns the KV pool, the rope tables and the scratch memory of one engine.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/aligned_buffer.h"
#include "kernels/table.h"
#include "model/architecture.h"
#include "model/runner.h"

namespace kvtape::model {

inline constexpr std::int32_t kBlockSize = 32;

class CpuRunner final : public Runner {
 public:
  struct Options {
    std::int32_t n_ctx;
    std::size_t kv_bytes;  // at least kv_bytes_for(n_ctx)
    kernels::KvType kv_type = kernels::KvType::f16;
    std::size_t n_threads;  // counts the calling thread
  };

  // Throws invalid_argument where the KV memory does not hold one sequence of n_ctx and one block more.
  CpuRunner(std::shared_ptr<const Model> model, const kernels::KernelTable& kernel, const Options& options);

  // The least KV memory for a context of n_ctx tokens, in bytes; and the memory of one block.
  [[nodiscard]] static std::size_t kv_bytes_for(const Config& config, kernels::KvType type,
                                                std::int32_t n_ctx) noexcept;
  [[nodiscard]] static std::size_t block_bytes(const Config& config, kernels::KvType type) noexcept;

  std::span<const std::span<const float>> forward(const Batch& batch) override;
  void copy_blocks(std::span<const BlockPair> pairs) override;

  [[nodiscard]] std::int32_t vocab_size() const noexcept override { return model_->config.vocab_size; }
  [[nodiscard]] std::int32_t block_size() const noexcept override { return kBlockSize; }
  [[nodiscard]] std::int32_t n_blocks() const noexcept override { return static_cast<std::int32_t>(kv_.n_blocks); }
  [[nodiscard]] std::int32_t n_ctx() const noexcept override { return n_ctx_; }

 private:
  std::shared_ptr<const Model> model_;
  const kernels::KernelTable& kernel_;
  std::int32_t n_ctx_;
  std::size_t n_threads_;
  RopeTables rope_, window_rope_;  // window_rope_ is empty where no layer has a window
  base::AlignedBuffer<std::byte> pool_;
  ops::KvPool kv_;
  Workspace workspace_;
};

}  // namespace kvtape::model
