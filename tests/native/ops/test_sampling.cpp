// No allocation once the scratch has grown, whichever way the chain goes.

#include "ops/sampling.h"

#include <vector>

#include "check.h"
#include "count_allocations.h"
#include "ops/table.h"

namespace {

using namespace kvtape;

void allocates_once() {
  std::vector<float> logits(5000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 2654435761u % 1000) / 100.0f;
  const std::vector<std::int32_t> recent{1, 2, 3, 3, 3, 4999};
  const std::vector<std::uint64_t> mask((logits.size() + 63) / 64, 0xfffffffffffffff0u);
  const std::vector<ops::SamplingParams> ways{
      {},
      {.temperature = 1.0f},
      {.temperature = 1.0f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f},
      {.temperature = 2.0f, .top_p = 0.99f},
      {.temperature = 0.5f, .min_p = 0.1f, .repeat_penalty = 1.1f, .logit_bias = {{7, 1.0f}}},
      {.temperature = 1.0f, .logprobs = true, .top_logprobs = 20},
  };
  const std::vector<std::int32_t> few{1, 70, 4999};
  const std::vector<float> logits_of_few{1.0f, 2.0f, 1.5f};
  ops::SamplingParams choice = ways[4];
  choice.allowed_tokens = few;
  const kernels::KernelTable& table = ops::table();
  ops::SamplingScratch scratch;
  std::size_t warm = 0;
  for (int round = 0; round < 2; ++round) {
    warm = test::n_allocations;
    for (const ops::SamplingParams& params : ways) {
      CHECK(
          ops::sample(table, logits, params, {.recent = recent, .mask = mask, .draw = 1, .logit_gap = true}, scratch));
    }
    CHECK(ops::sample(table, logits_of_few, choice, {.recent = recent, .vocab_size = logits.size()}, scratch));
  }
  CHECK(test::n_allocations == warm);
}

// A row that is shorter than the last one leaves nothing of it behind, and a refused call leaves the counts at zero.
void a_scratch_serves_any_row() {
  const kernels::KernelTable& table = ops::table();
  ops::SamplingScratch used;
  const std::vector<std::int32_t> recent{0, 1, 1, 70};
  std::vector<float> longer(3000, 1.0f), shorter(65, 0.5f);
  longer[2999] = 9.0f;
  shorter[1] = 0.75f;
  const ops::SamplingParams params{.temperature = 1.0f, .presence_penalty = 0.5f, .logprobs = true, .top_logprobs = 3};
  (void)ops::sample(table, longer, params, {.recent = recent}, used);
  bool refused = false;
  try {
    (void)ops::sample(table, shorter, params, {.recent = recent}, used);
  } catch (const std::exception&) {
    refused = true;
  }
  CHECK(refused);
  for (std::uint64_t draw = 0; draw < 20; ++draw) {
    ops::SamplingScratch fresh;
    const ops::SamplingContext context{.recent = std::span(recent).first(3), .draw = draw};
    const auto a = ops::sample(table, shorter, params, context, used);
    const auto b = ops::sample(table, shorter, params, context, fresh);
    CHECK(a->token == b->token && a->logprob == b->logprob && a->top.size() == 3 && a->top[2].token == b->top[2].token);
  }
}

}  // namespace

int main() {
  allocates_once();
  a_scratch_serves_any_row();
  return test::failures();
}
