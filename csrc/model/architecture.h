#pragma once
// One architecture is one forward pass over weights it holds. A new one is a file with a class, made of the steps of
// forward_pass.h, and a row in kArchitectures.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "gguf/reader.h"
#include "kernels/table.h"
#include "model/config.h"
#include "model/runner.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace kvtape::model {

// Scratch of forward passes, T tokens a step; grows to the largest step it has seen.
struct Workspace {
  base::AlignedBuffer<float> x;         // [T, dim] the residual stream
  base::AlignedBuffer<float> h;         // [T, dim] what enters or leaves a matrix product
  base::AlignedBuffer<float> qkv;       // [T, (n_heads + 2 n_kv_heads) * head_dim]
  base::AlignedBuffer<float> attended;  // [T, n_heads * head_dim]
  base::AlignedBuffer<float> gate, up;  // [T, ffn_dim]
  base::AlignedBuffer<float> logits;    // [2 n_wants, vocab_size]: the second half is the head's second terms
  ops::ActivationBuffer activations;
  ops::ActivationBuffer choices;  // rows of the wants that name ids
  ops::AttentionScratch attention;
  std::vector<std::int32_t> positions;    // [T]
  std::vector<ops::AttentionSpan> spans;  // [n_rows]
  std::vector<std::size_t> order;         // [n_wants] indices of wants: those of all logits, then those that name ids
  std::vector<std::size_t> tiles;         // of the head, that hold named ids, ascending
  std::vector<std::uint8_t> named;        // [tiles of the head] whether in `tiles`; zero between steps
  std::vector<std::span<const float>> wanted;  // [n_wants] what is wanted, in `logits`

  void prepare(const Config& config, const Batch& batch);
};

struct ForwardArgs {
  ops::Lease& lease;
  const kernels::KernelTable& kernel;
  const Batch& batch;
  const RopeTables& rope;
  const RopeTables& window_rope;  // of the layers with a window
  const ops::KvPool& pool;
};

class Architecture {
 public:
  virtual ~Architecture() = default;
  // Fills the pool's slots of all the batch's tokens and workspace.wanted. The workspace is prepared.
  virtual void forward(const ForwardArgs& args, Workspace& workspace) const = 0;
};

// What a model file becomes; shared by all the engines that run it.
struct Model {
  Config config;
  std::unique_ptr<const Architecture> architecture;
  std::size_t n_bytes = 0;  // of the file's tensors
  std::size_t n_params = 0;
};

// Reads, checks and repacks. Throws corrupt_file or unsupported, naming what was wanted, found and where.
std::shared_ptr<const Model> load_model(const gguf::GgufFile& file, std::size_t n_threads);

}  // namespace kvtape::model
