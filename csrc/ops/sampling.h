#pragma once
// From one row of logits to a token. One chain, the same answer on every instruction set:
//
//  1. logit bias      l[id] += bias; -inf bans a token
//  2. penalties       for each distinct token of the last repeat_last_n of `recent` (0: of all), which is there n times:
//                     l = l > 0 ? l / repeat_penalty : l * repeat_penalty; l = (l - n * frequency_penalty) - presence_penalty
//  3. mask            l[id] = -inf where the bit of id is clear, and where allowed_tokens are given and id is none of them
//     From here NaN counts as -inf, and a token at -inf cannot be drawn. If some are at +inf, they share all probability.
//     "In order" below means: larger l first, lower id among equals.
//  4. temperature     0 (or so small that 1 / temperature overflows): the first in order, and that is all
//                     else w = exp((l - max l) * (1 / temperature)), the probability but for a factor
//  5. top_k           the first top_k in order; 0 is off
//  6. top_p           of those, the shortest beginning in order whose w sum to at least top_p * (sum of w of step 5's set),
//                     at least one token; 1 is off
//  7. min_p           of those, w >= min_p, which is to say probability >= min_p * the largest probability; 0 is off
//  8. draw            u = uniform(seed, choice, draw); walking what is left by ascending id, the first token whose
//                     cumulative w exceeds u * (sum of w)
// w are float32. Step 6 adds them in float64: along the order where top_k is on, else the whole row as the runs of
// exp_weights.h. Step 8 adds runs in float64, and single w inside the run that holds the token. What is banned weighs +0,
// so that a row of the allowed tokens' logits alone gives the bits of the whole row.
// Log-probabilities and the gap are of the logits as they came, before step 1; the gap is of the allowed tokens'.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/table.h"

namespace kvtape::ops {

struct LogitBias {
  std::int32_t token;
  float bias;
};

struct SamplingParams {  // the fields of kvtape.types.SamplingParams that choose a token
  float temperature = 0.0f;
  std::size_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repeat_penalty = 1.0f;
  std::size_t repeat_last_n = 64;
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  std::vector<LogitBias> logit_bias = {};
  std::vector<std::int32_t> allowed_tokens = {};  // ascending, each once; empty: all
  std::uint64_t seed = 0;
  std::uint64_t choice = 0;
  bool logprobs = false;
  std::size_t top_logprobs = 0;
  std::vector<std::int32_t> logprob_ids = {};  // whose log-probabilities are wanted, where logprobs are
};

struct SamplingContext {                      // what changes from token to token
  std::span<const std::int32_t> recent = {};  // token ids so far, prompt included, oldest first
  std::span<const std::uint64_t> mask = {};   // bit id % 64 of word id / 64: the token is allowed; empty: all are
  std::uint64_t draw = 0;                     // index of this token in its generation
  bool logit_gap = false;                     // whether the gap is wanted
  std::size_t vocab_size = 0;                 // where the logits are those of the allowed tokens alone; 0: of all
};

struct TokenLogprob {
  std::int32_t token;
  float logprob;
};

struct SampleResult {
  std::int32_t token;
  float logprob = 0.0f;                    // where params.logprobs
  std::span<const TokenLogprob> top = {};  // of the logprob_ids, then of the top_logprobs best, each in their order;
                                           // valid until the scratch is used again
  float logit_gap = 0.0f;                  // where wanted: best minus second best raw logit; +inf if there is no second
};

// Working memory; grows to the largest vocabulary it has seen, then nothing is allocated.
class SamplingScratch {
 public:
  SamplingScratch();
  ~SamplingScratch();
  SamplingScratch(SamplingScratch&&) noexcept;
  SamplingScratch& operator=(SamplingScratch&&) noexcept;

  struct Buffers;
  [[nodiscard]] Buffers& buffers() noexcept { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// What no token can be drawn with, said before the first is.
// Throws Error{invalid_argument} for a token id outside the vocabulary, allowed tokens that do not ascend, or a
// temperature that is negative or NaN.
void check(const SamplingParams& params, std::size_t vocab_size);

// Chooses a token from logits: [vocab_size], or [n_allowed_tokens] where context.vocab_size says so and no logprobs are
// asked. Nothing where no token can be drawn.
// Throws as check(), and for a row or a mask of the wrong length, or a recent token outside the vocabulary.
[[nodiscard]] std::optional<SampleResult> sample(const kernels::KernelTable& table, std::span<const float> logits,
                                                 const SamplingParams& params, const SamplingContext& context,
                                                 SamplingScratch& scratch);

// What turns a raw logit of a row into its log-probability.
class LogSoftmax {
 public:
  LogSoftmax(const kernels::KernelTable& table, std::span<const float> logits, SamplingScratch& scratch);

  // -inf for NaN, and for every logit of a row without a number above -inf.
  [[nodiscard]] float operator()(float logit) const noexcept;

 private:
  float max_;
  double log_sum_;  // of exp(logit - max), or of the number of +inf where max is +inf
};

}  // namespace kvtape::ops
