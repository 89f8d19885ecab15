// After warm-up a decode step allocates nothing, but for each block that a sequence has filled.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "engine/chain_runner.h"
#include "engine/engine.h"
#include "ops/table.h"

namespace {

using namespace kvtape;

constexpr std::int32_t kVocab = 500, kBlock = 32, kBlocks = 6;
constexpr std::size_t kMostWants = 16 + engine::kDraftsBesideOthers;

// The logits of a token are a rotation of one row.
class RotatingRunner final : public model::Runner {
 public:
  std::span<const std::span<const float>> forward(const model::Batch& batch) override {
    for (std::size_t i = 0; i < kMostWants; ++i) {  // always all, so that drafts are cheap
      const model::Want want = i < batch.wants.size() ? batch.wants[i] : model::Want{0, {}};
      const std::int32_t token = batch.tokens[static_cast<std::size_t>(want.token)];
      const auto logits = std::span(logits_).subspan(i * kVocab, kVocab);
      for (std::int32_t id = 0; id < kVocab; ++id) {
        logits[static_cast<std::size_t>(id)] = static_cast<float>((id * 7 + token * 13) % 97) / 10.0f;
      }
      wanted_[i] = test::compact(logits, want.ids);
    }
    return std::span(wanted_).first(batch.wants.size());
  }
  void copy_blocks(std::span<const model::BlockPair>) override {}
  [[nodiscard]] std::int32_t vocab_size() const noexcept override { return kVocab; }
  [[nodiscard]] std::int32_t block_size() const noexcept override { return kBlock; }
  [[nodiscard]] std::int32_t n_blocks() const noexcept override { return 2000; }
  [[nodiscard]] std::int32_t n_ctx() const noexcept override { return 4096; }

 private:
  std::vector<float> logits_ = std::vector<float>(kMostWants * kVocab);
  std::vector<std::span<const float>> wanted_ = std::vector<std::span<const float>>(kMostWants);
};

engine::Vocabulary vocabulary() {
  std::vector<std::string> words;
  for (std::int32_t id = 0; id < kVocab; ++id) words.push_back(" " + std::to_string(id));
  const std::vector<std::string_view> views(words.begin(), words.end());
  return {std::make_shared<text::TokenBytes>(views), {}};
}

// Steps of n_sequences that decode side by side, forks of one prompt among them.
void steps_allocate_nothing(std::size_t n_sequences, const ops::SamplingParams& sampling, bool speculate,
                            const text::TextRules& rules = {}, bool guided = false) {
  engine::Engine engine(std::make_unique<RotatingRunner>(), vocabulary(), ops::table());
  const std::vector<std::int32_t> prompt(kBlock, 3);
  const engine::SequenceId parent = engine.open();
  engine.append(parent, prompt, engine::WorkClass::interactive);
  std::vector<engine::GenerationId> generations;
  for (std::size_t i = 0; i < n_sequences; ++i) {
    engine::SequenceId id = i % 2 == 0 ? engine.fork(parent) : engine.open();
    if (i % 2 == 1) engine.append(id, prompt, engine::WorkClass::interactive);
    generations.push_back(engine.generate(
        id, {.sampling = sampling, .max_tokens = {}, .text = rules, .guided = guided, .speculate = speculate}));
  }
  const std::vector<std::uint64_t> mask((kVocab + 63) / 64, 0x5555555555555555);
  engine::Events events;
  std::size_t n_steps = 0;
  const auto draw = [&](std::size_t n_tokens) {
    for (std::size_t n = 0; n < n_tokens; n += events.tokens.size(), ++n_steps) {
      for (const auto id : generations) {
        if (guided) engine.set_mask(id, mask);
      }
      CHECK(engine.step(events));
      for (const auto& event : events.tokens) CHECK(event.finish == engine::FinishReason::none);
    }
  };
  draw(n_sequences * 2 * kBlock);
  const std::size_t before = test::n_allocations, n_filled = n_sequences * kBlocks;
  n_steps = 0;
  draw(n_filled * kBlock);
  // A full block's node in the prefix index; beside it a few tables that double once or twice in the time, of what drafts
  // come from as well.
  const std::size_t n = test::n_allocations - before;
  CHECK(n <= n_filled + (speculate ? 7 : 3) * n_sequences + 20, "%zu for %zu filled blocks in %zu steps", n, n_filled,
        n_steps);
  const bool drafts_are_right = speculate && n_sequences == 1 && sampling.temperature == 0.0f;
  if (drafts_are_right) CHECK(engine.stats().accepted_tokens > n_filled * kBlock / 2);
  CHECK(speculate || engine.stats().drafted_tokens == 0);
}

}  // namespace

int main() {
  const ops::SamplingParams all{.temperature = 0.8f,
                                .top_k = 20,
                                .top_p = 0.9f,
                                .min_p = 0.01f,
                                .repeat_penalty = 1.1f,
                                .logit_bias = {{5, 1.0f}},
                                .seed = 7,
                                .logprobs = true};
  ops::SamplingParams choice = all;
  choice.logprobs = false;
  choice.allowed_tokens = {3, 5, 17, 499};
  const text::TextRules stops{.stop = {"no such", " 1 2 3 4"}, .shown = {{499, "shown"}}};
  text::TextRules reasoning = stops;
  reasoning.reasoning = {.open = "<r>", .close = " </r>", .opened = true};
  for (const std::size_t n_sequences : {1, 2, 16}) {
    for (const bool speculate : {false, true}) {
      steps_allocate_nothing(n_sequences, {}, speculate);
      steps_allocate_nothing(n_sequences, all, speculate);
      steps_allocate_nothing(n_sequences, {}, speculate, reasoning);
    }
    steps_allocate_nothing(n_sequences, choice, false);
    steps_allocate_nothing(n_sequences, all, false, stops);
    steps_allocate_nothing(n_sequences, all, false, reasoning);
    steps_allocate_nothing(n_sequences, all, false, stops, true);
  }
  return kvtape::test::failures();
}
