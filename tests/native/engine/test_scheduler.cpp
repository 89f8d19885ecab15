// What one step takes in: order, budgets, groups, and who gives way when blocks run out.

#include "engine/scheduler.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "check.h"
#include "engine/chain_runner.h"

namespace {

using namespace kvtape;
using engine::Plan;
using engine::Sequence;
using engine::WorkClass;
using Pointer = std::shared_ptr<Sequence>;

class Bench {
 public:
  explicit Bench(std::int32_t n_blocks) : cache(n_blocks, test::kBlock), scheduler(cache) {}

  // A sequence with n tokens to compute, of its own kind of tokens; `generates` wants the last one's logits.
  Pointer add(std::int32_t n_tokens, WorkClass work, bool generates = false) {
    auto sequence = std::make_shared<Sequence>();
    sequence->id = sequence->family = ++clock_;
    sequence->tokens.assign(static_cast<std::size_t>(n_tokens), static_cast<std::int32_t>(1 + sequence->id % 30));
    sequence->work = work;
    sequence->last_used = clock_;
    scheduler.queue(*sequence);
    if (generates) {
      engine::GenerationParams params;
      params.work = work;
      sequence->generation = std::make_shared<engine::Generation>(clock_, params, test::chain_vocabulary(), n_tokens);
    }
    sequences.push_back(sequence);
    return sequence;
  }

  // A generation that has one token left to compute: a decode. Its text repeats itself.
  Pointer add_decode(std::int32_t n_tokens, WorkClass work, std::optional<std::int32_t> max_tokens = {}) {
    const Pointer sequence = add(n_tokens - 1, work);
    sequence->generation = nullptr;
    compute(*sequence, n_tokens - 1);
    sequence->tokens.push_back(2);
    engine::GenerationParams params;
    params.work = work;
    params.max_tokens = max_tokens;
    sequence->generation =
        std::make_shared<engine::Generation>(sequence->id, params, test::chain_vocabulary(), n_tokens);
    return sequence;
  }

  // Two tokens drawn, after which it may be drafted for; and drafts that were right so far.
  Pointer add_drafting(std::int32_t n_tokens, WorkClass work, std::optional<std::int32_t> max_tokens = {}) {
    const Pointer sequence = add_decode(n_tokens, work, max_tokens);
    sequence->tokens.back() = sequence->tokens.front();
    std::vector<float> logits(test::kVocab);
    ops::SamplingScratch scratch;
    for (int i = 0; i < 2; ++i) (void)sequence->generation->draw(ops::table(), logits, {}, 0, scratch);
    (void)sequence->generation->draft(sequence->tokens);
    sequence->generation->drafter()->learn(20, 20);
    return sequence;
  }

  std::int32_t drafted(const Pointer& sequence) {
    for (const auto& row : plan_.rows) {
      if (row.sequence == sequence) return static_cast<std::int32_t>(row.drafted.size());
    }
    return 0;
  }

  void compute(Sequence& sequence, std::int32_t n) {
    std::vector<model::BlockPair> copies;
    CHECK(cache.try_prepare(sequence, n, copies));
    cache.commit(sequence, n);
  }

  const Plan& plan() {
    scheduler.make_plan(sequences, plan_, stats);
    return plan_;
  }

  std::int32_t planned(const Pointer& sequence) {
    for (const auto& row : plan_.rows) {
      if (row.sequence == sequence) return row.n_tokens;
    }
    return 0;
  }

  engine::SequenceCache cache;
  engine::Scheduler scheduler;
  std::vector<Pointer> sequences;
  engine::Stats stats;

 private:
  std::uint64_t clock_ = 0;
  Plan plan_;
};

void test_a_step_is_filled_in_order_of_class() {
  Bench bench(1000);
  const auto background = bench.add(500, WorkClass::background);
  const auto ingest = bench.add(100, WorkClass::ingest);
  const auto later = bench.add(100, WorkClass::ingest);
  bench.plan();
  CHECK(bench.planned(ingest) == 99);  // the last token waits until its logits are wanted
  CHECK(bench.planned(later) == 99);
  CHECK(bench.planned(background) == engine::kStepTokens - 198);
}

void test_interactive_work_leaves_little_to_others() {
  Bench bench(1000);
  const auto ingest = bench.add(500, WorkClass::ingest);
  const auto decode = bench.add_decode(9, WorkClass::interactive);
  const auto prompt = bench.add(500, WorkClass::interactive, true);
  bench.plan();
  CHECK(bench.planned(decode) == 1);
  CHECK(bench.planned(prompt) == engine::kPromptBesideDecode);
  CHECK(bench.planned(ingest) == engine::kOthersBesideInteractive);
}

void test_ingest_leaves_half_to_flash() {
  Bench bench(1000);
  const auto ingest = bench.add(500, WorkClass::ingest);
  const auto flash = bench.add(500, WorkClass::flash, true);
  bench.plan();
  CHECK(bench.planned(ingest) == engine::kStepTokens / 2);
  CHECK(bench.planned(flash) == engine::kStepTokens / 2);
}

void test_forks_form_a_group_over_what_they_share() {
  Bench bench(1000);
  const auto base = bench.add(30, WorkClass::ingest);
  bench.compute(*base, 29);
  std::vector<Pointer> forks;
  for (std::int32_t i = 0; i < 3; ++i) {
    forks.push_back(bench.add(0, WorkClass::flash));
    bench.cache.share(*base, *forks.back());
    forks.back()->tokens.push_back(3 + i);
  }
  const auto stranger = bench.add(30, WorkClass::flash);
  const Plan& plan = bench.plan();
  CHECK(plan.rows.size() == 4 && plan.copies.size() == 3);  // 29 tokens end inside a block: each copies it
  for (std::size_t i = 0; i < plan.rows.size(); ++i) {
    const bool alone = plan.rows[i].sequence == stranger;
    CHECK(plan.spans[i].shared_len == (alone ? 0 : 28), "%d", plan.spans[i].shared_len);
    CHECK(plan.spans[i].position == plan.rows[i].sequence->n_cached);
    if (!alone) CHECK(plan.rows[static_cast<std::size_t>(plan.spans[i].group)].sequence->family == base->family);
  }
}

void test_one_that_waits_to_be_resident_is_built_again() {
  Bench bench(4);
  const auto held = bench.add(9, WorkClass::ingest);
  bench.compute(*held, 8);
  const auto waits = bench.add(9, WorkClass::ingest);
  waits->tokens = held->tokens;
  waits->resident_wanted = true;
  bench.cache.drop(*held);
  held->dropped = true;
  (void)bench.add(16, WorkClass::background, true);
  bench.plan();  // the index has all that is missing; then the other one takes it away again
  CHECK(waits->n_cached == 0 && !waits->dropped && waits->n_wanted() == 8);
}

void test_idle_sequences_give_way_first_then_the_youngest_of_lower_classes() {
  Bench bench(6);
  const auto idle = bench.add(5, WorkClass::interactive);
  bench.compute(*idle, 4);
  const auto old_flash = bench.add_decode(5, WorkClass::flash);
  const auto young_flash = bench.add_decode(5, WorkClass::flash);
  // In use: 1 + 1 + 1 blocks, and the index holds the same ones. The prompt needs four: the idle one goes. The decodes
  // need a second block each: the older takes the younger's.
  const auto prompt = bench.add(16, WorkClass::interactive, true);
  bench.plan();
  CHECK(bench.planned(prompt) == 16);
  CHECK(idle->dropped && idle->blocks.empty() && bench.stats.sequences_dropped == 1);
  CHECK(bench.planned(old_flash) == 1 && bench.planned(young_flash) == 0);
  CHECK(young_flash->blocks.empty() && bench.stats.preemptions == 1);
  bench.compute(*prompt, 16);
  bench.compute(*old_flash, 1);
  prompt->tokens.push_back(1);
  old_flash->tokens.push_back(1);
  const auto second = bench.add(8, WorkClass::interactive, true);
  bench.plan();
  CHECK(bench.planned(second) == 0);  // the prompt's next token was first to take what the flash query had
  CHECK(bench.planned(prompt) == 1 && old_flash->blocks.empty() && bench.stats.preemptions == 2);
}

void test_whoever_has_a_hole_gives_way_last() {
  Bench bench(10);
  const auto holed = bench.add(13, WorkClass::background);
  bench.compute(*holed, 12);
  bench.cache.evict(*holed, {2, 9});  // one block goes, two stay
  CHECK(holed->blocks.size() == 2);
  const auto idle = bench.add(9, WorkClass::interactive);  // unused for less long
  bench.compute(*idle, 8);
  const auto prompt = bench.add(28, WorkClass::interactive, true);
  bench.plan();
  CHECK(bench.planned(prompt) == 28 && !holed->lost() && holed->blocks.size() == 2);
  CHECK(idle->blocks.empty() && bench.stats.sequences_lost == 0);
  bench.compute(*prompt, 28);
  prompt->tokens.resize(37, 1);
  bench.plan();
  CHECK(bench.planned(prompt) == 9 && holed->lost() && holed->blocks.empty() && bench.stats.sequences_lost == 1);
  CHECK(bench.planned(holed) == 0 && holed->n_wanted() == 0);
}

void test_forks_with_different_holes_share_what_is_before_them() {
  Bench bench(1000);
  const auto base = bench.add(30, WorkClass::ingest);
  bench.compute(*base, 29);
  const auto fork = [&](kernels::Hole hole) {
    const Pointer child = bench.add(0, WorkClass::flash);
    bench.cache.share(*base, *child);
    if (!hole.empty()) bench.cache.evict(*child, hole);
    child->tokens.insert(child->tokens.end(), {3, 4});
    return child;
  };
  const auto shared_len = [&] {
    const Plan& plan = bench.plan();
    CHECK(plan.rows.size() == 2 && plan.spans[0].shared_len == plan.spans[1].shared_len);
    const std::int32_t n = plan.spans[0].shared_len;
    for (const auto& sequence : bench.sequences) {
      if (sequence != base) bench.cache.drop(*sequence);
    }
    std::erase_if(bench.sequences, [&](const auto& sequence) { return sequence != base; });
    return n;
  };
  fork({9, 21}), fork({9, 21});
  CHECK(shared_len() == 28);
  fork({9, 21}), fork({9, 25});
  CHECK(shared_len() == 9);
  fork({}), fork({9, 25});
  CHECK(shared_len() == 9);
  fork({12, 21}), fork({9, 25});
  CHECK(shared_len() == 9);
}

void test_nobody_takes_from_his_betters() {
  Bench bench(4);
  const auto holder = bench.add_decode(14, WorkClass::interactive);
  const auto wants = bench.add(9, WorkClass::ingest);
  bench.plan();
  CHECK(bench.planned(holder) == 1);
  CHECK(bench.planned(wants) == 0 && wants->blocks.empty());
  CHECK(!holder->blocks.empty() && bench.stats.preemptions == 0);
}

void test_drafts_stand_behind_their_row() {
  Bench bench(1000);
  const auto sequence = bench.add_drafting(9, WorkClass::interactive);
  const Plan& plan = bench.plan();
  const std::int32_t n = bench.drafted(sequence);
  CHECK(n >= 2 && n <= engine::kMaxDraft, "%d", n);
  CHECK(bench.planned(sequence) == 1 && plan.spans[0].n_tokens == 1 + n && plan.spans[0].position == 8);
  CHECK(plan.wants.size() == plan.tokens.size() && plan.tokens.size() == static_cast<std::size_t>(1 + n));
  for (std::size_t i = 0; i < plan.tokens.size(); ++i) {
    CHECK(plan.tokens[i] == sequence->tokens[0] && plan.wants[i].token == static_cast<std::int32_t>(i));
  }
  CHECK(plan.spans[0].blocks.size() * test::kBlock >= static_cast<std::size_t>(9 + n));
  bench.cache.commit(*sequence, 1);
  bench.cache.trim(*sequence);
  CHECK(sequence->blocks.size() == 3);
}

void test_no_draft_beyond_the_last_token() {
  for (const std::int32_t max_tokens : {3, 4, 5}) {  // two are drawn
    Bench bench(1000);
    const auto sequence = bench.add_drafting(9, WorkClass::interactive, max_tokens);
    bench.plan();
    CHECK(bench.drafted(sequence) == max_tokens - 3);
  }
}

void test_drafts_take_only_free_blocks() {
  Bench bench(4);
  const auto published = bench.add(5, WorkClass::interactive);
  bench.compute(*published, 4);  // one block, which the index remembers
  bench.cache.drop(*published);
  const auto sequence = bench.add_drafting(9, WorkClass::interactive);  // two blocks, and one for the ninth token
  bench.plan();
  CHECK(bench.planned(sequence) == 1 && bench.drafted(sequence) == 3 && bench.cache.index().n_nodes() == 3);
  CHECK(sequence->blocks.size() == 3 && bench.cache.pool().n_free() == 0);
}

void test_drafts_beside_others() {
  Bench bench(1000);
  std::vector<Pointer> drafting;
  for (int i = 0; i < 3; ++i) drafting.push_back(bench.add_drafting(9, WorkClass::flash));
  const auto background = bench.add_drafting(9, WorkClass::background);
  bench.plan();
  std::int32_t n_drafted = 0;
  for (const auto& sequence : drafting) n_drafted += bench.drafted(sequence);
  CHECK(n_drafted > 0 && n_drafted <= engine::kDraftsBesideOthers && bench.drafted(background) == 0);
  const auto [fewest, most] =
      std::ranges::minmax(drafting, {}, [&](const Pointer& sequence) { return bench.drafted(sequence); });
  CHECK(bench.drafted(most) - bench.drafted(fewest) <= 1);
  const auto interactive = bench.add_decode(9, WorkClass::interactive);
  bench.plan();
  for (const auto& sequence : drafting) CHECK(bench.planned(sequence) == 1 && bench.drafted(sequence) == 0);
}

// Where a token more costs as much as a step, no draft pays.
void test_drafts_that_do_not_pay() {
  Bench bench(1000);
  const auto sequence = bench.add_drafting(9, WorkClass::interactive);
  for (int i = 0; i < 100; ++i) {
    const Plan& plan = bench.plan();
    bench.scheduler.learn(plan, 1e-3 * static_cast<double>(plan.tokens.size()));
  }
  bench.plan();
  CHECK(bench.drafted(sequence) <= 1, "%d", bench.drafted(sequence));
}

}  // namespace

int main() {
  test_a_step_is_filled_in_order_of_class();
  test_interactive_work_leaves_little_to_others();
  test_ingest_leaves_half_to_flash();
  test_forks_form_a_group_over_what_they_share();
  test_one_that_waits_to_be_resident_is_built_again();
  test_idle_sequences_give_way_first_then_the_youngest_of_lower_classes();
  test_whoever_has_a_hole_gives_way_last();
  test_forks_with_different_holes_share_what_is_before_them();
  test_nobody_takes_from_his_betters();
  test_drafts_stand_behind_their_row();
  test_no_draft_beyond_the_last_token();
  test_drafts_take_only_free_blocks();
  test_drafts_beside_others();
  test_drafts_that_do_not_pay();
  return test::failures();
}
