#pragma once
// One run of the sampler over a sequence: parameters, text, stop rules, counts. Only the engine's thread touches it once it
// runs, but for `cancelled` and the mask that comes in, which the engine's lock guards.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/prompt_lookup.h"
#include "engine/types.h"
#include "ops/sampling.h"
#include "text/text_assembler.h"

namespace kvtape::engine {

struct GenerationParams {
  ops::SamplingParams sampling;
  std::optional<std::int32_t> max_tokens;  // none: no limit of its own
  text::TextRules text;
  bool ignore_eos = false;
  bool guided = false;  // each token waits for its mask: Engine::set_mask
  WorkClass work = WorkClass::interactive;
  bool speculate = true;  // drafts tokens where it pays; a choice of allowed_tokens is too short for that
};

struct Vocabulary {
  std::shared_ptr<const text::TokenBytes> bytes;
  std::vector<std::int32_t> eos;  // ids that end a generation
};

class Generation {
 public:
  // Throws invalid_argument for what TextAssembler refuses, and for a budget of reasoning that cannot be kept: close_ids
  // must spell the closing marker.
  Generation(GenerationId id, GenerationParams params, const Vocabulary& vocabulary, std::int32_t n_prompt);

  [[nodiscard]] GenerationId id() const noexcept { return id_; }
  [[nodiscard]] WorkClass work() const noexcept { return params_.work; }

  // Whether the next token is drawn with a mask: not inside the reasoning, nor where the token is forced.
  [[nodiscard]] bool needs_mask() const noexcept;
  [[nodiscard]] bool lacks_mask() const noexcept { return needs_mask() && !mask_came_; }

  // Takes the next token's mask, [ceil(vocab_size / 64)]; a later one replaces it until it is used. Throws
  // Error{invalid_argument} for another length, and where the generation is not guided.
  void set_mask(std::span<const std::uint64_t> words);

  // Makes the mask that has come the one that draw() uses, if it needs one. False where it has not come.
  [[nodiscard]] bool try_use_mask() noexcept;

  // How many of the sequence's newest tokens draw() looks at.
  [[nodiscard]] std::size_t history_len() const noexcept;

  // Tokens whose logits draw() wants, ascending; empty: all.
  [[nodiscard]] std::span<const std::int32_t> wanted_ids() const noexcept;

  // Whether the next token is drawn inside the reasoning.
  [[nodiscard]] bool inside_reasoning() const noexcept { return assembler_.inside_reasoning(); }

  // Tokens that may come next, none of them worth more than a try: tokens are the sequence's.
  [[nodiscard]] std::span<const std::int32_t> draft(std::span<const std::int32_t> tokens);
  [[nodiscard]] Drafter* drafter() const noexcept { return drafter_.get(); }  // null: it does not speculate

  // The event of the next token, drawn from logits: [vocab_size], or those of wanted_ids().
  //   history: at least the newest history_len() tokens, or all
  //   n_computed: prompt tokens computed for this generation so far
  TokenEvent draw(const kernels::KernelTable& kernel, std::span<const float> logits,
                  std::span<const std::int32_t> history, std::int32_t n_computed, ops::SamplingScratch& scratch);

  // The event that ends it before its time.
  TokenEvent fail(FinishReason finish, std::string error);

  bool cancelled = false;

 private:
  [[nodiscard]] bool is_eos(std::int32_t token) const noexcept;
  [[nodiscard]] std::span<const std::int32_t> forced_id() const noexcept;  // the next token where it is forced
  void prepare_close();

  GenerationId id_;
  GenerationParams params_;
  std::vector<std::int32_t> eos_;
  std::size_t vocab_size_;
  std::vector<std::uint64_t> next_mask_, mask_;  // one comes in while draw() reads the other; empty: not guided
  bool mask_came_ = false, uses_mask_ = false;
  text::TextAssembler assembler_;
  ops::SamplingParams forced_;  // how a forced token is drawn
  std::size_t n_forced_ = 0;    // tokens of close_ids so far
  Usage usage_;
  std::unique_ptr<Drafter> drafter_;
};

}  // namespace kvtape::engine
