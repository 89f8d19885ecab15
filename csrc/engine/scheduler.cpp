#include "engine/scheduler.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace kvtape::engine {
namespace {

bool is_decode(const Sequence& sequence) { return sequence.generation && sequence.n_wanted() == 1; }

bool is_idle(const Sequence& sequence) { return !sequence.generation && sequence.n_wanted() <= 0; }

// Who loses its blocks first: idle ones (the longest unused first), then the lowest class, then whose work began last.
bool loses_before(const Sequence& a, const Sequence& b) {
  if (is_idle(a) != is_idle(b)) return is_idle(a);
  if (is_idle(a)) return a.last_used < b.last_used;
  return std::tuple(a.work_class(), a.arrival) > std::tuple(b.work_class(), b.arrival);
}

// Among those who may lose theirs, whoever has a hole comes last: nothing brings its KV back.
bool is_better_victim(const Sequence& a, const Sequence& b) {
  if (a.hole.empty() != b.hole.empty()) return a.hole.empty();
  return loses_before(a, b);
}

}  // namespace

// Tokens each kind of work may still put into the step.
class Budget {
 public:
  explicit Budget(std::span<const std::shared_ptr<Sequence>> ready) {
    bool interactive_waits = false, interactive_decodes = false, others_wait = false;
    bool flash_waits = false, background_waits = false;
    for (const auto& sequence : ready) {
      const bool interactive = sequence->work_class() == WorkClass::interactive;
      (interactive ? interactive_waits : others_wait) = true;
      interactive_decodes |= interactive && is_decode(*sequence);
      flash_waits |= sequence->work_class() == WorkClass::flash;
      background_waits |= sequence->work_class() == WorkClass::background;
    }
    if (interactive_waits) others_ = kOthersBesideInteractive;
    if (others_wait) interactive_ -= kOthersBesideInteractive;
    prompts_ = interactive_decodes ? kPromptBesideDecode : interactive_;
    data_ = background_waits ? others_ - std::max(1, others_ / kOthersPerBackground) : others_;
    ingest_ = flash_waits ? data_ / 2 : data_;
  }

  [[nodiscard]] std::int32_t room(const Sequence& sequence) const {
    switch (sequence.work_class()) {
      case WorkClass::interactive:
        return is_decode(sequence) ? std::min(step_, interactive_) : std::min({step_, interactive_, prompts_});
      case WorkClass::ingest: return std::min({step_, others_, data_, ingest_});
      case WorkClass::flash: return std::min({step_, others_, data_});
      default: return std::min(step_, others_);
    }
  }

  void take(const Sequence& sequence, std::int32_t n) {
    step_ -= n;
    switch (sequence.work_class()) {
      case WorkClass::interactive:
        interactive_ -= n;
        if (!is_decode(sequence)) prompts_ -= n;
        return;
      case WorkClass::ingest: ingest_ -= n; [[fallthrough]];
      case WorkClass::flash: data_ -= n; [[fallthrough]];
      default: others_ -= n;
    }
  }

 private:
  std::int32_t step_ = kStepTokens;
  std::int32_t interactive_ = kStepTokens, prompts_;   // prompts are a part of it
  std::int32_t others_ = kStepTokens, data_, ingest_;  // each is a part of the one before it
};

void Scheduler::queue(Sequence& sequence) noexcept {
  sequence.arrival = sequence.place = ++last_place_;
  sequence.turn_left = kTurnTokens;
}

void Scheduler::make_plan(std::span<const std::shared_ptr<Sequence>> sequences, Plan& plan, Stats& stats) {
  plan.rows.clear();
  plan.tokens.clear();
  plan.wants.clear();
  plan.copies.clear();
  plan.spans.clear();
  plan.block_tables.clear();
  plan.history.clear();
  ready_.clear();
  for (const auto& sequence : sequences) {
    sequence->planned = false;
    if (sequence->n_wanted() > 0) ready_.push_back(sequence);
  }
  std::ranges::sort(ready_, {}, [](const std::shared_ptr<Sequence>& s) {
    return std::tuple(s->work_class(), !is_decode(*s), s->place);
  });

  Budget budget(ready_);
  for (const auto& sequence : ready_) {
    if (sequence->n_wanted() <= 0) continue;  // preempted by somebody before it, and idle or lost now
    cache_.adopt(*sequence);
    // Where the last token has KV already, it runs once more for its logits and writes the same bits.
    if (sequence->generation) sequence->n_cached = std::min(sequence->n_cached, sequence->n_tokens() - 1);
    const std::int32_t n = std::min(sequence->n_wanted(), budget.room(*sequence));
    if (n <= 0) continue;
    sequence->planned = true;  // from here on nobody takes its blocks
    if (!try_prepare(*sequence, n, sequences, plan, stats)) {
      sequence->planned = false;
      continue;
    }
    budget.take(*sequence, n);
    add_row(sequence, n, plan);
    sequence->turn_left -= n;
    if (sequence->turn_left <= 0) {  // what it had too much is taken off its next turn
      sequence->place = ++last_place_;
      sequence->turn_left += kTurnTokens;
    }
  }
  add_drafts(plan, budget);
  lay_out(plan);
  ready_.clear();
}

// Drafts grow token by token, everybody's in turn, while the product of the speeds of all sequences in the step grows: a
// sequence's speed is what it expects to draw over the time that the step takes. One more token, which is drawn with chance
// p, raises what its sequence expects from e to e + p, and lengthens the step by a share s for each of the n sequences in
// it: it pays where p / e > n * s. So the more sequences decode together, the better a draft must be; beside others there
// are few, of the step's best class alone, and they take neither budget nor blocks that anybody else could use.
void Scheduler::add_drafts(Plan& plan, Budget& budget) {
  if (plan.rows.empty()) return;
  const WorkClass best = plan.rows.front().sequence->work_class();
  std::int32_t n_tokens = 0, n_left = plan.rows.size() == 1 ? kMaxDraft : kDraftsBesideOthers;
  drafts_.clear();
  for (auto& row : plan.rows) {
    n_tokens += row.n_tokens;
    if (!row.samples || row.n_tokens != 1 || row.sequence->work_class() != best) continue;
    const auto tokens = row.generation->draft(row.sequence->tokens);
    if (tokens.empty()) continue;
    const double chance = row.generation->drafter()->chance();
    drafts_.push_back({&row, tokens, chance, chance, 1.0});
  }
  const auto n_rows = static_cast<double>(plan.rows.size());
  const auto try_grow = [&](Draft& draft) {
    const std::size_t n = draft.row->drafted.size();
    Sequence& sequence = *draft.row->sequence;
    if (n == draft.tokens.size() || n_left == 0 || budget.room(sequence) < 1) return false;
    if (draft.chance_of_all <= draft.expected * n_rows * cost_.share(n_tokens)) return false;
    if (!cache_.try_extend(sequence, sequence.n_cached + 1 + static_cast<std::int32_t>(n))) return false;
    draft.row->drafted = draft.tokens.first(n + 1);
    draft.expected += draft.chance_of_all;
    draft.chance_of_all *= draft.chance;
    budget.take(sequence, 1);
    ++n_tokens;
    --n_left;
    return true;
  };
  while (!drafts_.empty()) std::erase_if(drafts_, [&](Draft& draft) { return !try_grow(draft); });
}

void Scheduler::learn(const Plan& plan, double seconds) {
  std::int32_t n_tokens = 0;
  for (const auto& row : plan.rows) {
    if (!row.samples || row.n_tokens != 1) return;  // prompts cost less a token
    n_tokens += 1 + static_cast<std::int32_t>(row.drafted.size());
  }
  cost_.observe(n_tokens, seconds);
}

bool Scheduler::try_prepare(Sequence& sequence, std::int32_t n, std::span<const std::shared_ptr<Sequence>> sequences,
                            Plan& plan, Stats& stats) {
  while (!cache_.try_prepare(sequence, n, plan.copies)) {
    Sequence* victim = nullptr;
    for (const auto& other : sequences) {
      if (other->planned || other->blocks.empty() || !loses_before(*other, sequence)) continue;
      if (victim == nullptr || is_better_victim(*other, *victim)) victim = other.get();
    }
    if (victim == nullptr) return false;
    const bool idle = is_idle(*victim) && !victim->resident_wanted;  // who waits to be resident is built again
    victim->dropped |= idle;
    ++(!victim->hole.empty() ? stats.sequences_lost : idle ? stats.sequences_dropped : stats.preemptions);
    cache_.drop(*victim);
  }
  return true;
}

void Scheduler::add_row(const std::shared_ptr<Sequence>& sequence, std::int32_t n, Plan& plan) {
  PlannedRow row{.sequence = sequence,
                 .generation = nullptr,
                 .samples = sequence->generation && n == sequence->n_wanted(),
                 .n_tokens = n,
                 .epoch = sequence->epoch,
                 .history_begin = 0,
                 .n_history = 0,
                 .rank = plan.rows.size()};
  if (row.samples) row.generation = sequence->generation;
  plan.rows.push_back(std::move(row));
}

void Scheduler::lay_out(Plan& plan) const {
  // Forks of one sequence hold the same first blocks: they stand side by side and are attended together.
  std::ranges::sort(plan.rows, {}, [](const PlannedRow& row) { return std::tuple(row.sequence->family, row.rank); });
  std::size_t n_entries = 0;
  for (const auto& row : plan.rows) n_entries += row.sequence->blocks.size();
  plan.block_tables.reserve(n_entries);  // spans point into it
  for (auto& row : plan.rows) {
    const Sequence& sequence = *row.sequence;
    const std::size_t begin = plan.block_tables.size();
    plan.block_tables.insert(plan.block_tables.end(), sequence.blocks.begin(), sequence.blocks.end());
    plan.spans.push_back({.first = static_cast<std::int32_t>(plan.tokens.size()),
                          .n_tokens = row.n_tokens + static_cast<std::int32_t>(row.drafted.size()),
                          .position = sequence.n_cached,
                          .blocks = std::span(plan.block_tables).subspan(begin),
                          .group = static_cast<std::int32_t>(plan.spans.size()),
                          .shared_len = 0,
                          .hole = sequence.hole});
    const auto tokens = sequence.tokens.begin() + sequence.n_cached;
    plan.tokens.insert(plan.tokens.end(), tokens, tokens + row.n_tokens);
    if (!row.samples) continue;
    const auto last = static_cast<std::int32_t>(plan.tokens.size()) - 1;
    plan.tokens.insert(plan.tokens.end(), row.drafted.begin(), row.drafted.end());
    for (auto token = last; token < static_cast<std::int32_t>(plan.tokens.size()); ++token) {
      plan.wants.push_back({token, row.generation->wanted_ids()});
    }
    row.history_begin = plan.history.size();
    row.n_history = std::min(row.generation->history_len(), sequence.tokens.size());
    if (row.n_history == 0) continue;
    const auto newest = std::span(sequence.tokens).last(row.n_history);
    plan.history.insert(plan.history.end(), newest.begin(), newest.end());
    plan.history.insert(plan.history.end(), row.drafted.begin(), row.drafted.end());
  }
  for (std::size_t begin = 0, end = 0; begin < plan.rows.size(); begin = end) {
    auto shared = plan.spans[begin].blocks;
    const kernels::Hole hole = plan.spans[begin].hole;
    bool same_hole = true;
    std::int32_t first_hole = hole.empty() ? std::numeric_limits<std::int32_t>::max() : hole.begin;
    for (end = begin + 1;
         end < plan.rows.size() && plan.rows[end].sequence->family == plan.rows[begin].sequence->family; ++end) {
      const auto [same, _] = std::ranges::mismatch(shared, plan.spans[end].blocks);
      shared = {shared.begin(), same};
      const kernels::Hole other = plan.spans[end].hole;
      same_hole &= other == hole;
      if (!other.empty()) first_hole = std::min(first_hole, other.begin);
    }
    if (end - begin < 2) continue;
    const auto n_shared = static_cast<std::int32_t>(shared.size());
    const std::int32_t block_size = cache_.block_size();
    for (std::size_t i = begin; i < end; ++i) {
      plan.spans[i].group = static_cast<std::int32_t>(begin);
      plan.spans[i].shared_len =
          same_hole ? hole.n_blocks(n_shared, block_size) * block_size : std::min(n_shared * block_size, first_hole);
    }
  }
}

}  // namespace kvtape::engine
