#include "ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/numerics.h"
#include "ops/philox.h"

namespace kvtape::ops {
namespace {

using kernels::kMaxRun;
using kernels::kSumRun;
using Ids = std::span<std::int32_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr std::size_t n_runs(std::size_t n) { return (n + kSumRun - 1) / kSumRun; }

[[noreturn]] void refuse(const std::string& message) {
  throw base::Error(base::ErrorCode::invalid_argument, "sample: " + message);
}

}  // namespace

struct SamplingScratch::Buffers {
  std::vector<float> allowed;  // logits of the allowed tokens, where those of all came
  std::vector<float> logits;   // a row that steps 1 to 3 have changed
  std::vector<float> kept;     // logits of the tokens left, in the order of their ids
  std::vector<float> weights;
  std::vector<float> sums;  // of runs of weights
  std::vector<float> run_max, sorted;
  std::vector<std::int32_t> ids;
  std::vector<std::uint32_t> counts;  // of recent tokens; zero between calls
  std::vector<TokenLogprob> top;

  void reserve(std::size_t vocab_size) {
    if (vocab_size <= logits.size()) return;
    for (auto* row : {&allowed, &logits, &kept, &weights}) row->resize(vocab_size);
    sums.resize(n_runs(vocab_size));
    run_max.resize((vocab_size + kMaxRun - 1) / kMaxRun);
    sorted.resize(run_max.size());
    ids.resize(vocab_size);
    counts.resize(vocab_size);
  }
};

SamplingScratch::SamplingScratch() : buffers_(std::make_unique<Buffers>()) {}
SamplingScratch::~SamplingScratch() = default;
SamplingScratch::SamplingScratch(SamplingScratch&&) noexcept = default;
SamplingScratch& SamplingScratch::operator=(SamplingScratch&&) noexcept = default;

namespace {

using Buffers = SamplingScratch::Buffers;

// Logits of the whole vocabulary, or of some of its tokens. A place is an index into them; places ascend as ids do.
struct Row {
  std::span<const float> logits;
  std::span<const std::int32_t> ids;  // whose they are, ascending; empty: a place is its token's id
  std::size_t vocab_size;

  [[nodiscard]] std::int32_t token(std::size_t place) const {
    return ids.empty() ? static_cast<std::int32_t>(place) : ids[place];
  }
  // The first place of an id from `id` on.
  [[nodiscard]] std::size_t place_from(std::size_t id) const {
    if (ids.empty()) return std::min(id, logits.size());
    return static_cast<std::size_t>(std::ranges::lower_bound(ids, static_cast<std::int32_t>(id)) - ids.begin());
  }
  // Calls change(logit) with that of a token, where the row has it.
  template <class Change>
  void at(std::span<float> copy, std::int32_t id, const Change& change) const {
    const std::size_t place = place_from(static_cast<std::size_t>(id));
    if (place < logits.size() && token(place) == id) change(copy[place]);
  }
};

// Places of the first n tokens in order, without those at -inf, so there may be fewer. They lie in buffers.ids.
Ids best(const kernels::KernelTable& table, std::span<const float> logits, std::size_t n, Buffers& buffers) {
  const std::size_t n_runs = (logits.size() + kMaxRun - 1) / kMaxRun;
  float* run_max = buffers.run_max.data();
  table.run_max(logits.data(), logits.size(), run_max);
  if (n == 1) {
    const auto run = static_cast<std::size_t>(std::max_element(run_max, run_max + n_runs) - run_max);
    if (run_max[run] == -kInfinity) return {};
    std::size_t id = run * kMaxRun;
    while (logits[id] != run_max[run]) ++id;
    buffers.ids[0] = static_cast<std::int32_t>(id);
    return {buffers.ids.data(), 1};
  }
  // n runs have a maximum of at least the n-th largest maximum, so n tokens reach it.
  float least = std::numeric_limits<float>::lowest();
  if (n <= n_runs) {
    float* sorted = buffers.sorted.data();
    std::copy(run_max, run_max + n_runs, sorted);
    std::nth_element(sorted, sorted + (n - 1), sorted + n_runs, std::greater<>());
    least = std::max(least, sorted[n - 1]);
  }
  std::int32_t* ids = buffers.ids.data();
  std::int32_t* end = ids + table.select_at_least(logits.data(), logits.size(), least, ids);
  const auto in_order = [&](std::int32_t a, std::int32_t b) {
    const float l_a = logits[static_cast<std::size_t>(a)], l_b = logits[static_cast<std::size_t>(b)];
    return l_a > l_b || (l_a == l_b && a < b);
  };
  if (n < static_cast<std::size_t>(end - ids)) {
    std::nth_element(ids, ids + n, end, in_order);
    end = ids + n;
  }
  std::sort(ids, end, in_order);
  return {ids, end};
}

void check_token(std::int32_t token, std::size_t vocab_size, const char* where) {
  if (token < 0 || static_cast<std::size_t>(token) >= vocab_size) {
    refuse(std::string(where) + " has token " + std::to_string(token) + " of a vocabulary of " +
           std::to_string(vocab_size));
  }
}

void check_context(std::size_t vocab_size, const SamplingContext& context) {
  const std::size_t n_words = (vocab_size + 63) / 64;
  if (!context.mask.empty() && context.mask.size() != n_words) {
    refuse("the mask has " + std::to_string(context.mask.size()) + " words, wanted " + std::to_string(n_words));
  }
  for (const std::int32_t token : context.recent) check_token(token, vocab_size, "recent");
}

void penalise(const Row& row, std::span<float> logits, const SamplingParams& params,
              std::span<const std::int32_t> recent, std::span<std::uint32_t> counts) {
  if (params.repeat_last_n != 0 && params.repeat_last_n < recent.size()) recent = recent.last(params.repeat_last_n);
  for (const std::int32_t token : recent) ++counts[static_cast<std::size_t>(token)];
  for (const std::int32_t token : recent) {
    const std::uint32_t n = std::exchange(counts[static_cast<std::size_t>(token)], 0);
    if (n == 0) continue;  // done at an earlier place
    row.at(logits, token, [&](float& l) {
      l = l > 0.0f ? l / params.repeat_penalty : l * params.repeat_penalty;
      l = (l - static_cast<float>(n) * params.frequency_penalty) - params.presence_penalty;
    });
  }
}

void apply_mask(const Row& row, std::span<float> logits, std::span<const std::uint64_t> mask) {
  for (std::size_t word = 0; word < mask.size(); ++word) {
    if (mask[word] == ~std::uint64_t{0}) continue;
    const std::size_t begin = row.place_from(word * 64), end = row.place_from(word * 64 + 64);
    for (std::size_t place = begin; place < end; ++place) {
      if ((mask[word] >> (row.token(place) % 64) & 1) == 0) logits[place] = -kInfinity;
    }
  }
}

// Steps 1 to 3. The row's own logits where they change nothing, else a copy in the buffers.
std::span<const float> adjusted(const Row& row, const SamplingParams& params, const SamplingContext& context,
                                Buffers& buffers) {
  const bool penalties =
      params.repeat_penalty != 1.0f || params.frequency_penalty != 0.0f || params.presence_penalty != 0.0f;
  if (params.logit_bias.empty() && !(penalties && !context.recent.empty()) && context.mask.empty()) return row.logits;
  const std::span<float> copy(buffers.logits.data(), row.logits.size());
  std::ranges::copy(row.logits, copy.begin());
  for (const LogitBias& entry : params.logit_bias) row.at(copy, entry.token, [&](float& l) { l += entry.bias; });
  if (penalties) penalise(row, copy, params, context.recent, buffers.counts);
  apply_mask(row, copy, context.mask);
  return copy;
}

// Steps 4 to 8 at a temperature above 0: a row, its largest value (finite), and what is made of it.
class Distribution {
 public:
  Distribution(const kernels::KernelTable& table, const Row& row, float max, float inverse_temperature,
               Buffers& buffers)
      : table_(table), row_(row), max_(max), s_(inverse_temperature), buffers_(buffers) {}

  // The place of the token that u falls on.
  std::size_t draw(const SamplingParams& params, double u) {
    const bool top_k = params.top_k != 0 && params.top_k < row_.vocab_size, top_p = params.top_p < 1.0f;
    Ids kept;  // places, in any order
    if (top_k) {
      kept = best(table_, row_.logits, params.top_k, buffers_);
      if (top_p) kept = kept.first(prefix_of(kept, params.top_p));
    } else {
      weigh_row();
      if (!top_p && !(params.min_p > 0.0f)) return pick(row_, u);
      if (top_p) {
        kept = prefix_of_row(params.top_p);
      } else {
        kept = {buffers_.ids.data(),
                table_.select_at_least(buffers_.weights.data(), row_.logits.size(), params.min_p, buffers_.ids.data())};
      }
    }
    std::sort(kept.begin(), kept.end());
    weigh(gathered(kept));
    if (params.min_p > 0.0f) {
      std::size_t n = 0;
      for (std::size_t i = 0; i < kept.size(); ++i) {
        if (buffers_.weights[i] >= params.min_p) kept[n++] = kept[i];
      }
      kept = kept.first(n);
      weigh(gathered(kept));
    }
    const Row left{.logits = {buffers_.kept.data(), kept.size()}, .ids = {}, .vocab_size = kept.size()};
    return static_cast<std::size_t>(kept[pick(left, u)]);
  }

 private:
  std::span<const float> gathered(Ids ids) {
    for (std::size_t i = 0; i < ids.size(); ++i) buffers_.kept[i] = row_.logits[static_cast<std::size_t>(ids[i])];
    return {buffers_.kept.data(), ids.size()};
  }

  void weigh(std::span<const float> logits) {
    table_.exp_weights(logits.data(), logits.size(), max_, s_, buffers_.weights.data(), buffers_.sums.data());
  }

  // The row's weights. Runs are of ids and so are lanes, whatever of them is there: between are weights of +0.
  void weigh_row() {
    weigh(row_.logits);
    if (row_.ids.empty()) return;
    std::fill_n(buffers_.sums.begin(), n_runs(row_.vocab_size), 0.0f);
    for (std::size_t place = 0; place < row_.logits.size();) {
      const std::size_t run = static_cast<std::size_t>(row_.token(place)) / kSumRun;
      float lanes[kernels::kReduceLanes] = {};
      for (const std::size_t end = row_.place_from((run + 1) * kSumRun); place < end; ++place) {
        lanes[static_cast<std::size_t>(row_.token(place)) % kernels::kReduceLanes] += buffers_.weights[place];
      }
      buffers_.sums[run] = kernels::reduce_lanes(lanes);
    }
  }

  // Tokens at the beginning of top_k's set that top_p keeps.
  std::size_t prefix_of(Ids ids, float top_p) {
    weigh(gathered(ids));
    double total = 0.0;
    for (std::size_t i = 0; i < ids.size(); ++i) total += static_cast<double>(buffers_.weights[i]);
    double sum = 0.0;
    std::size_t n = 0;
    while (n < ids.size()) {
      sum += static_cast<double>(buffers_.weights[n++]);
      if (sum >= static_cast<double>(top_p) * total) break;
    }
    return n;
  }

  // The same of the whole row, whose weights are there: sorting starts with a few tokens, and seldom needs more.
  Ids prefix_of_row(float top_p) {
    double total = 0.0;
    for (std::size_t r = 0; r < n_runs(row_.vocab_size); ++r) total += static_cast<double>(buffers_.sums[r]);
    for (std::size_t n_tried = 64;; n_tried *= 8) {
      const Ids ids = best(table_, row_.logits, std::min(n_tried, row_.logits.size()), buffers_);
      double sum = 0.0;
      for (std::size_t n = 0; n < ids.size();) {
        sum += static_cast<double>(buffers_.weights[static_cast<std::size_t>(ids[n++])]);
        if (sum >= static_cast<double>(top_p) * total) return ids.first(n);
      }
      if (n_tried >= row_.logits.size()) return ids;
    }
  }

  // Step 8 over a row whose weights and the sums of their runs are there: a place. Where rounding leaves none: the last
  // that has weight.
  std::size_t pick(const Row& row, double u) const {
    const float *weights = buffers_.weights.data(), *sums = buffers_.sums.data();
    double total = 0.0;
    for (std::size_t r = 0; r < n_runs(row.vocab_size); ++r) total += static_cast<double>(sums[r]);
    const double target = u * total;
    double before = 0.0, run_begin = 0.0;
    std::size_t run = 0;  // the first whose end exceeds the target, or the last that has weight
    for (std::size_t r = 0; r < n_runs(row.vocab_size); ++r) {
      if (sums[r] > 0.0f) {
        run = r;
        run_begin = before;
      }
      before += static_cast<double>(sums[r]);
      if (before > target) break;
    }
    std::size_t chosen = row.place_from(run * kSumRun);
    double sum = run_begin;
    for (std::size_t i = chosen, end = row.place_from((run + 1) * kSumRun); i < end; ++i) {
      if (weights[i] > 0.0f) chosen = i;
      sum += static_cast<double>(weights[i]);
      if (sum > target) break;
    }
    return chosen;
  }

  const kernels::KernelTable& table_;
  const Row row_;
  float max_, s_;
  Buffers& buffers_;
};

// All probability to the tokens at +inf: a row of zeros there and -inf elsewhere.
std::span<const float> infinite_only(std::span<const float> logits, Buffers& buffers) {
  for (std::size_t i = 0; i < logits.size(); ++i) buffers.logits[i] = logits[i] == kInfinity ? 0.0f : -kInfinity;
  return {buffers.logits.data(), logits.size()};
}

// The row that steps 1 to 8 work on: of the allowed tokens, where it is not that already.
Row allowed_row(std::span<const float> logits, const SamplingParams& params, const SamplingContext& context,
                Buffers& buffers) {
  const std::span<const std::int32_t> ids = params.allowed_tokens;
  if (context.vocab_size > 0) {
    if (params.logprobs) refuse("logprobs want the logits of all tokens");
    if (logits.size() != ids.size()) {
      refuse("there are " + std::to_string(logits.size()) + " logits, wanted those of " + std::to_string(ids.size()) +
             " allowed tokens");
    }
    return {logits, ids, context.vocab_size};
  }
  if (ids.empty()) return {logits, {}, logits.size()};
  for (std::size_t i = 0; i < ids.size(); ++i) buffers.allowed[i] = logits[static_cast<std::size_t>(ids[i])];
  return {{buffers.allowed.data(), ids.size()}, ids, logits.size()};
}

float gap(const kernels::KernelTable& table, std::span<const float> logits, Buffers& buffers) {
  const Ids two = best(table, logits, 2, buffers);
  if (two.size() < 2) return kInfinity;
  const float first = logits[static_cast<std::size_t>(two[0])], second = logits[static_cast<std::size_t>(two[1])];
  return first == second ? 0.0f : first - second;  // equal infinities have no difference
}

}  // namespace

void check(const SamplingParams& params, std::size_t vocab_size) {
  if (!(params.temperature >= 0.0f)) {
    refuse("temperature is " + std::to_string(params.temperature) + ", wanted at least 0");
  }
  for (const LogitBias& entry : params.logit_bias) check_token(entry.token, vocab_size, "logit_bias");
  for (const std::int32_t token : params.logprob_ids) check_token(token, vocab_size, "logprob_ids");
  for (std::size_t i = 0; i < params.allowed_tokens.size(); ++i) {
    check_token(params.allowed_tokens[i], vocab_size, "allowed_tokens");
    if (i > 0 && params.allowed_tokens[i] <= params.allowed_tokens[i - 1]) refuse("allowed_tokens do not ascend");
  }
}

std::optional<SampleResult> sample(const kernels::KernelTable& table, std::span<const float> logits,
                                   const SamplingParams& params, const SamplingContext& context,
                                   SamplingScratch& scratch) {
  if (logits.empty()) refuse("no logits");
  const std::size_t vocab_size = context.vocab_size > 0 ? context.vocab_size : logits.size();
  check_context(vocab_size, context);
  check(params, vocab_size);
  Buffers& buffers = scratch.buffers();
  buffers.reserve(vocab_size);

  Row row = allowed_row(logits, params, context, buffers);
  SampleResult result;
  if (context.logit_gap) result.logit_gap = gap(table, row.logits, buffers);
  row.logits = adjusted(row, params, context, buffers);
  const Ids first = best(table, row.logits, 1, buffers);
  if (first.empty()) return std::nullopt;
  auto place = static_cast<std::size_t>(first[0]);
  const float inverse_temperature = 1.0f / params.temperature;
  if (std::isfinite(inverse_temperature)) {
    float max = row.logits[place];
    if (max == kInfinity) {
      row.logits = infinite_only(row.logits, buffers);
      max = 0.0f;
    }
    Distribution distribution(table, row, max, inverse_temperature, buffers);
    place = distribution.draw(params, uniform(params.seed, params.choice, context.draw));
  }
  result.token = row.token(place);

  if (params.logprobs) {
    const LogSoftmax log_softmax(table, logits, scratch);
    result.logprob = log_softmax(logits[static_cast<std::size_t>(result.token)]);
    buffers.top.clear();
    for (const std::int32_t token : params.logprob_ids) {
      buffers.top.push_back({token, log_softmax(logits[static_cast<std::size_t>(token)])});
    }
    if (params.top_logprobs > 0) {
      for (const std::int32_t token : best(table, logits, params.top_logprobs, buffers)) {
        buffers.top.push_back({token, log_softmax(logits[static_cast<std::size_t>(token)])});
      }
    }
    result.top = buffers.top;
  }
  return result;
}

LogSoftmax::LogSoftmax(const kernels::KernelTable& table, std::span<const float> logits, SamplingScratch& scratch)
    : max_(-kInfinity), log_sum_(0.0) {
  Buffers& buffers = scratch.buffers();
  buffers.reserve(logits.size());
  const Ids first = logits.empty() ? Ids() : best(table, logits, 1, buffers);
  if (first.empty()) return;
  max_ = logits[static_cast<std::size_t>(first[0])];
  double sum = 0.0;
  if (max_ == kInfinity) {
    sum = static_cast<double>(std::count(logits.begin(), logits.end(), kInfinity));
  } else {
    table.exp_weights(logits.data(), logits.size(), max_, 1.0f, buffers.weights.data(), buffers.sums.data());
    for (std::size_t r = 0; r < n_runs(logits.size()); ++r) sum += static_cast<double>(buffers.sums[r]);
  }
  log_sum_ = std::log(sum);
}

float LogSoftmax::operator()(float logit) const noexcept {
  if (!(logit > -kInfinity)) return -kInfinity;
  const double below = logit == max_ ? 0.0 : static_cast<double>(logit) - static_cast<double>(max_);
  return static_cast<float>(below - log_sum_);
}

}  // namespace kvtape::ops
