#include "engine/generation.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"

namespace kvtape::engine {
namespace {

// A generation's first tokens are not drafted: many answers are but a word, and would pay for the index of their prompt.
constexpr std::int32_t kTokensBeforeDrafts = 2;

// Sampled answers copy as well: at temperature 0.6 drafts save less than greedy, and still more than they cost.
bool speculates(const GenerationParams& params) { return params.speculate && params.sampling.allowed_tokens.empty(); }

}  // namespace

Generation::Generation(GenerationId id, GenerationParams params, const Vocabulary& vocabulary, std::int32_t n_prompt)
    : id_(id),
      params_(std::move(params)),
      eos_(vocabulary.eos),
      vocab_size_(vocabulary.bytes->size()),
      next_mask_(params_.guided ? (vocab_size_ + 63) / 64 : 0),
      mask_(next_mask_),
      assembler_(vocabulary.bytes, params_.text),
      usage_{.prompt_tokens = n_prompt},
      drafter_(speculates(params_) ? std::make_unique<Drafter>() : nullptr) {
  if (params_.text.reasoning && params_.text.reasoning->budget) prepare_close();
}

// A forced token is the model's to weigh, not to choose: greedy among one, with the log-probabilities that were asked for.
void Generation::prepare_close() {
  const text::ReasoningSpan& span = *params_.text.reasoning;
  std::string closing;
  for (const std::int32_t id : span.close_ids) closing += assembler_.bytes(id);
  if (closing.find(span.close) == std::string::npos) {
    throw base::Error(base::ErrorCode::invalid_argument, "a budget of reasoning wants close_ids that spell " +
                                                             base::quoted(span.close) + ", found " +
                                                             base::quoted(closing));
  }
  forced_.allowed_tokens.resize(1);
  forced_.logprobs = params_.sampling.logprobs;
  forced_.top_logprobs = params_.sampling.top_logprobs;
  forced_.logprob_ids = params_.sampling.logprob_ids;
}

void Generation::set_mask(std::span<const std::uint64_t> words) {
  if (words.size() != next_mask_.size()) {
    throw base::Error(base::ErrorCode::invalid_argument, "engine: the mask has " + std::to_string(words.size()) +
                                                             " words, wanted " + std::to_string(next_mask_.size()));
  }
  std::ranges::copy(words, next_mask_.begin());
  mask_came_ = true;
}

bool Generation::needs_mask() const noexcept { return params_.guided && !inside_reasoning() && forced_id().empty(); }

bool Generation::try_use_mask() noexcept {
  if (lacks_mask()) return false;
  uses_mask_ = needs_mask();
  if (!uses_mask_) return true;
  std::swap(next_mask_, mask_);
  mask_came_ = false;
  return true;
}

std::size_t Generation::history_len() const noexcept {
  const ops::SamplingParams& p = params_.sampling;
  if (p.repeat_penalty == 1.0f && p.frequency_penalty == 0.0f && p.presence_penalty == 0.0f) return 0;
  return p.repeat_last_n == 0 ? std::numeric_limits<std::size_t>::max() : p.repeat_last_n;
}

// Log-probabilities are the model's own, and so need all logits.
std::span<const std::int32_t> Generation::wanted_ids() const noexcept {
  if (params_.sampling.logprobs) return {};
  const auto forced = forced_id();
  return forced.empty() ? std::span<const std::int32_t>(params_.sampling.allowed_tokens) : forced;
}

// Reasoning stands at the beginning, so what it has cost is what has been generated.
std::span<const std::int32_t> Generation::forced_id() const noexcept {
  const auto& span = params_.text.reasoning;
  if (!span || !span->budget || n_forced_ == span->close_ids.size()) return {};
  const bool spent = inside_reasoning() && usage_.completion_tokens >= *span->budget;
  if (n_forced_ == 0 && !spent) return {};
  return std::span(span->close_ids).subspan(n_forced_, 1);
}

bool Generation::is_eos(std::int32_t token) const noexcept { return std::ranges::find(eos_, token) != eos_.end(); }

std::span<const std::int32_t> Generation::draft(std::span<const std::int32_t> tokens) {
  const std::int32_t n_drawn = usage_.completion_tokens,
                     n = params_.max_tokens.value_or(kMaxDraft + n_drawn + 1) - n_drawn - 1;
  if (!drafter_ || n_drawn < kTokensBeforeDrafts || n <= 0 || !forced_id().empty() || needs_mask()) return {};
  return drafter_->draft(tokens, n);
}

TokenEvent Generation::fail(FinishReason finish, std::string error) {
  return {.generation = id_,
          .token = 0,
          .text = assembler_.finish().text,
          .logprob = {},
          .logit_gap = {},
          .top = {},
          .finish = finish,
          .error = std::move(error),
          .usage = usage_};
}

TokenEvent Generation::draw(const kernels::KernelTable& kernel, std::span<const float> logits,
                            std::span<const std::int32_t> history, std::int32_t n_computed,
                            ops::SamplingScratch& scratch) {
  const bool first = usage_.completion_tokens == 0;
  if (first) usage_.cached_tokens = usage_.prompt_tokens - std::min(n_computed, usage_.prompt_tokens);
  TokenEvent event{
      .generation = id_, .token = 0, .text = {}, .logprob = {}, .logit_gap = {}, .top = {}, .error = {}, .usage = {}};
  const ops::SamplingContext context{.recent = history,
                                     .mask = uses_mask_ ? mask_ : std::span<const std::uint64_t>{},
                                     .draw = static_cast<std::uint64_t>(usage_.completion_tokens),
                                     .logit_gap = first,
                                     .vocab_size = logits.size() == vocab_size_ ? 0 : vocab_size_};
  const auto forced = forced_id();
  if (!forced.empty()) {
    forced_.allowed_tokens[0] = forced[0];
    ++n_forced_;
  }
  const auto drawn = ops::sample(kernel, logits, forced.empty() ? params_.sampling : forced_, context, scratch);
  if (!drawn) {
    return fail(FinishReason::error, "no token can be drawn: every logit is -inf or NaN, or its token is not allowed");
  }
  ++usage_.completion_tokens;
  event.token = drawn->token;
  event.guided = uses_mask_;
  if (params_.sampling.logprobs) {
    event.logprob = drawn->logprob;
    event.top.reserve(drawn->top.size());
    for (const auto& [token, logprob] : drawn->top) event.top.push_back({token, logprob});
  }
  if (first) event.logit_gap = drawn->logit_gap;

  event.in_reasoning = inside_reasoning();
  bool stopped = false;
  if (!params_.ignore_eos && is_eos(drawn->token)) {
    event.finish = FinishReason::stop;
  } else {
    auto piece = assembler_.push(drawn->token);
    event.text = std::move(piece.text);
    event.in_reasoning = assembler_.was_reasoning();
    stopped = piece.stopped;
    if (stopped)
      event.finish = FinishReason::stop;
    else if (usage_.completion_tokens == params_.max_tokens)
      event.finish = FinishReason::length;
  }
  if (event.finish != FinishReason::none && !stopped) {
    const auto rest = assembler_.finish();
    event.text += rest.text;
    if (rest.stopped) event.finish = FinishReason::stop;
  }
  if (const auto stop = assembler_.matched_stop()) event.stop_string = params_.text.stop[*stop];
  if (first || event.finish != FinishReason::none) event.usage = usage_;
  return event;
}

}  // namespace kvtape::engine
