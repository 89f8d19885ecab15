#pragma once
// Values that cross the engine's boundary.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kvtape::engine {

using SequenceId = std::uint64_t;
using GenerationId = std::uint64_t;

// Who goes first, in this order; within a class, who came first.
enum class WorkClass : std::uint8_t { interactive, ingest, flash, background };

enum class FinishReason : std::uint8_t { none, stop, length, error, lost };

struct TopLogprob {
  std::int32_t token;
  float logprob;
};

struct Usage {
  std::int32_t prompt_tokens = 0, completion_tokens = 0;
  std::int32_t cached_tokens = 0;  // prompt tokens that nobody had to compute for this generation
};

struct TokenEvent {  // one generated token
  GenerationId generation;
  std::int32_t token;
  std::string text;           // whole characters only
  bool in_reasoning = false;  // part of the reasoning, its markers included, as far as is known by now
  bool guided = false;        // drawn with a mask
  std::optional<float> logprob, logit_gap;
  std::vector<TopLogprob> top;
  FinishReason finish = FinishReason::none;
  std::optional<std::string> stop_string = {};  // the one that ended the generation
  std::string error;                            // where finish is error or lost
  Usage usage;                                  // of the first token, and where finish is not none
};

struct Events {  // of one step
  std::vector<TokenEvent> tokens;
  std::vector<SequenceId>
      resident;  // whose tokens all have KV now (the last may lack it), or never will: those are lost
};

struct Stats {
  std::uint64_t steps = 0, preemptions = 0, sequences_dropped = 0, sequences_lost = 0, dropped_results = 0;
  std::uint64_t late_masks = 0;  // results that could not be used because a mask had not come
  std::uint64_t prompt_tokens = 0, cached_tokens = 0, computed_tokens = 0, generated_tokens = 0;
  std::uint64_t recomputed_tokens = 0;  // whose KV had been taken away, or that ran again for their logits
  std::uint64_t drafted_tokens = 0, accepted_tokens = 0;  // that were computed ahead; and that were drawn then
  std::int32_t n_sequences = 0, n_running = 0, n_pending = 0;
  std::int32_t n_blocks = 0, n_blocks_free = 0, n_blocks_indexed = 0;
};

}  // namespace kvtape::engine
