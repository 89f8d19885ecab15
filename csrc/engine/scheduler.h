#pragma once
// Who runs in this step: classes in order; within a class decodes before prompts, and then in turn. A turn is kTurnTokens
// long: whoever has had that many goes to the end of the queue, where new work comes in too, so that nobody waits for more
// than one turn of each of the others. A step is given out whole: a turn may end with what is left of one, and the next is
// shorter then. No class starves: each leaves a share of the step to those below it that wait, though not of the memory.
// A prompt waits as long as decodes of its class fill that class's share; they come to an end.
//
// A sequence that finds no block takes those of idle sequences, then of lower classes, then of ones of its own class whose
// work began later, whoever's turn it is; it never takes from its betters. So the first of the best class always gets on,
// unless it waits for a mask, and no two take from each other for ever. Drafts of what may come next take what is left of a step.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/generation.h"
#include "engine/sequence.h"
#include "engine/step_cost.h"
#include "engine/types.h"
#include "model/runner.h"

namespace kvtape::engine {

// Tokens a step may hold. The first bounds the scratch memory, the others how long somebody waits for somebody else.
inline constexpr std::int32_t kStepTokens = 256;
inline constexpr std::int32_t kPromptBesideDecode = 64;  // of interactive prompts, while an interactive decode runs
// Of all other classes, while an interactive one has work. SmolLM2-135M, one chat and 64 sessions that push: with 2, 4, 8,
// 16 the chat keeps 0.69, 0.50, 0.36, 0.25 of its speed alone, and ingest 0.40, 0.53, 0.83, all of its own.
inline constexpr std::int32_t kOthersBesideInteractive = 8;
inline constexpr std::int32_t kOthersPerBackground = 16;  // background may have one token of so many of the others'
inline constexpr std::int32_t kTurnTokens = kStepTokens;
inline constexpr std::int32_t kDraftsBesideOthers = 8;  // of all sequences, in a step of more than one

struct PlannedRow {
  std::shared_ptr<Sequence> sequence;
  std::shared_ptr<Generation>
      generation;  // where the row's last token's logits are sampled; emptied when its result is stale
  bool samples;    // whether it stood in Plan::wants
  std::int32_t n_tokens;
  std::uint32_t epoch;
  std::size_t history_begin, n_history;        // in Plan::history: the tokens its penalties look at
  std::size_t rank;                            // who was planned first
  std::span<const std::int32_t> drafted = {};  // tokens behind its own, sampled as well; the generation's memory
  std::int32_t n_computed = 0;                 // of the sequence, when the row's KV was committed
  std::size_t first_event = 0, n_events = 0;   // in Events::tokens
};

// What one step does; its own copies, so that the sequences may change while it runs.
struct Plan {
  std::vector<PlannedRow> rows;
  std::vector<model::RowSpan> spans;       // [n_rows]
  std::vector<std::int32_t> tokens;        // [n_tokens]
  std::vector<model::Want> wants;          // [tokens of rows that sample, drafted ones included]
  std::vector<std::int32_t> block_tables;  // all rows' in turn
  std::vector<std::int32_t> history;       // the same
  std::vector<model::BlockPair> copies;

  [[nodiscard]] model::Batch batch() const noexcept { return {tokens, spans, wants}; }
};

class Budget;

class Scheduler {
 public:
  explicit Scheduler(SequenceCache& cache) : cache_(cache) {}

  // Puts a sequence that has new work at the end of the queue.
  void queue(Sequence& sequence) noexcept;

  // Fills `plan` (its memory is reused); empty rows: nothing can run.
  void make_plan(std::span<const std::shared_ptr<Sequence>> sequences, Plan& plan, Stats& stats);

  // How long the plan's step took.
  void learn(const Plan& plan, double seconds);

 private:
  [[nodiscard]] bool try_prepare(Sequence& sequence, std::int32_t n,
                                 std::span<const std::shared_ptr<Sequence>> sequences, Plan& plan, Stats& stats);
  static void add_row(const std::shared_ptr<Sequence>& sequence, std::int32_t n, Plan& plan);
  void add_drafts(Plan& plan, Budget& budget);
  void lay_out(Plan& plan) const;

  struct Draft {
    PlannedRow* row;
    std::span<const std::int32_t> tokens;
    double chance, chance_of_all;  // that a token is drawn if all before it are; that the next one is
    double expected;               // tokens that the row draws
  };

  SequenceCache& cache_;
  StepCost cost_;
  std::uint64_t last_place_ = 0;
  std::vector<Draft> drafts_;
  std::vector<std::shared_ptr<Sequence>> ready_;
};

}  // namespace kvtape::engine
