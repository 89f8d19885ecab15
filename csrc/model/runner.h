#pragma once
// What executes a batch on a device. Block ids, tables and the schedule belong to the engine; the runner owns the memory
// behind the ids.

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/attention/hole.h"

namespace kvtape::model {

struct RowSpan {                         // one sequence in this step
  std::int32_t first, n_tokens;          // its tokens in Batch.tokens
  std::int32_t position;                 // absolute position of the first of them; all before it have KV
  std::span<const std::int32_t> blocks;  // block table, covering position + n_tokens; without the hole's (hole.h)
  std::int32_t group, shared_len;        // spans of a group hold the same blocks for their first shared_len positions
  kernels::Hole hole = {};               // positions that its tokens do not see; different ones share what is before
};

struct Want {                         // logits of one token
  std::int32_t token;                 // index into Batch.tokens
  std::span<const std::int32_t> ids;  // whose logits, ascending and each once; empty: those of all the vocabulary
};

struct Batch {
  std::span<const std::int32_t> tokens;  // [n_tokens], every span's in turn
  std::span<const RowSpan> rows;
  std::span<const Want> wants;  // their tokens ascend
};

struct BlockPair {
  std::int32_t from, to;
};

class Runner {
 public:
  virtual ~Runner() = default;

  // Computes KV of all the batch's tokens. Returns the logits of each want, [its ids] or [vocab_size], with the same bits
  // whatever the ids; valid until the next call. Blocking.
  virtual std::span<const std::span<const float>> forward(const Batch& batch) = 0;
  virtual void copy_blocks(std::span<const BlockPair> pairs) = 0;  // copy-on-write

  [[nodiscard]] virtual std::int32_t vocab_size() const noexcept = 0;
  [[nodiscard]] virtual std::int32_t block_size() const noexcept = 0;
  [[nodiscard]] virtual std::int32_t n_blocks() const noexcept = 0;
  [[nodiscard]] virtual std::int32_t n_ctx() const noexcept = 0;  // longest sequence
};

}  // namespace kvtape::model
