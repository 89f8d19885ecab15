#include "engine/generation.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace kvtape::engine {

Generation::Generation(GenerationId id, GenerationParams params, const Vocabulary& vocabulary, std::int32_t n_prompt)
    : id_(id),
      params_(std::move(params)),
      eos_(vocabulary.eos),
      vocab_size_(vocabulary.bytes->size()),
      assembler_(vocabulary.bytes, params_.stop),
      usage_{.prompt_tokens = n_prompt} {}

std::size_t Generation::history_len() const noexcept {
  const ops::SamplingParams& p = params_.sampling;
  if (p.repeat_penalty == 1.0f && p.frequency_penalty == 0.0f && p.presence_penalty == 0.0f) return 0;
  return p.repeat_last_n == 0 ? std::numeric_limits<std::size_t>::max() : p.repeat_last_n;
}

// Log-probabilities are the model's own, and so need all logits.
std::span<const std::int32_t> Generation::wanted_ids() const noexcept {
  if (params_.sampling.logprobs) return {};
  return params_.sampling.allowed_tokens;
}

bool Generation::is_eos(std::int32_t token) const noexcept { return std::ranges::find(eos_, token) != eos_.end(); }

TokenEvent Generation::draw(const kernels::KernelTable& kernel, std::span<const float> logits,
                            std::span<const std::int32_t> history, std::int32_t n_free, std::int32_t n_computed,
                            ops::SamplingScratch& scratch) {
  const bool first = usage_.completion_tokens == 0;
  if (first) usage_.cached_tokens = usage_.prompt_tokens - std::min(n_computed, usage_.prompt_tokens);
  TokenEvent event{
      .generation = id_, .token = 0, .text = {}, .logprob = {}, .logit_gap = {}, .top = {}, .error = {}, .usage = {}};
  const ops::SamplingContext context{.recent = history,
                                     .draw = static_cast<std::uint64_t>(usage_.completion_tokens),
                                     .logit_gap = first,
                                     .vocab_size = wanted_ids().empty() ? 0 : vocab_size_};
  const auto drawn = ops::sample(kernel, logits, params_.sampling, context, scratch);
  if (!drawn) {
    event.text = assembler_.finish();
    event.finish = FinishReason::error;
    event.error = "no token can be drawn: every logit is -inf or NaN";
    event.usage = usage_;
    return event;
  }
  ++usage_.completion_tokens;
  event.token = drawn->token;
  if (params_.sampling.logprobs) {
    event.logprob = drawn->logprob;
    event.top.reserve(drawn->top.size());
    for (const auto& [token, logprob] : drawn->top) event.top.push_back({token, logprob});
  }
  if (first) event.logit_gap = drawn->logit_gap;

  bool stopped = false;
  if (!params_.ignore_eos && is_eos(drawn->token)) {
    event.finish = FinishReason::stop;
  } else {
    auto piece = assembler_.push(drawn->token);
    event.text = std::move(piece.text);
    stopped = piece.stopped;
    if (stopped)
      event.finish = FinishReason::stop;
    else if (usage_.completion_tokens == params_.max_tokens || n_free <= 1)
      event.finish = FinishReason::length;
  }
  if (event.finish != FinishReason::none && !stopped) event.text += assembler_.finish();
  if (first || event.finish != FinishReason::none) event.usage = usage_;
  return event;
}

}  // namespace kvtape::engine
