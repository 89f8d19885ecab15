#pragma once
// Sequences and generations over one runner. The verbs may be called from any thread and return at once; one thread calls
// step() in a loop. A lock guards the bookkeeping and is free while the runner works.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/generation.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/types.h"
#include "kernels/attention/hole.h"
#include "kernels/table.h"
#include "model/runner.h"

namespace kvtape::engine {

inline constexpr std::size_t kMaxSequences = 4096;

class Engine {
 public:
  Engine(std::unique_ptr<model::Runner> runner, Vocabulary vocabulary, const kernels::KernelTable& kernel);

  // The verbs. Each throws not_found for an id that is not open, closed after stop() or in a forked process; and lost,
  // where it needs the KV of a sequence that is: all but cancel, truncate to before the hole, close and freeze.
  SequenceId open();               // overloaded past kMaxSequences
  SequenceId fork(SequenceId id);  // overloaded, too
  void append(SequenceId id, std::span<const std::int32_t> tokens, WorkClass work);
  // context_overflow; invalid_argument; busy while it generates
  GenerationId generate(SequenceId id, GenerationParams params);
  // invalid_argument where empty, or for what ops::check refuses; busy; context_overflow where full
  void set_mask(GenerationId id,
                std::span<const std::uint64_t> words);  // of its next token: bit id % 64 of word id / 64
  // invalid_argument where it is not guided or for another length; no error where it has ended
  void cancel(GenerationId id);                         // no error where it has ended
  void truncate(SequenceId id, std::int32_t n_tokens);  // invalid_argument, also inside the hole; busy
  void evict(SequenceId id, std::int32_t begin, std::int32_t end);
  // Positions [begin, end) leave: what is computed from now on, the last token included, does not see them. A hole only
  // grows to the right. invalid_argument; busy while it generates or tokens before the last lack KV
  void close(SequenceId id);                          // cancels what it generates
  void freeze(SequenceId id, std::int32_t n_tokens);  // its first tokens are evicted last

  // True where all tokens (but perhaps the last) have KV; else they will, and Events::resident will name it. Throws lost.
  [[nodiscard]] bool request_resident(SequenceId id);
  [[nodiscard]] std::int32_t n_tokens(SequenceId id);
  [[nodiscard]] std::int32_t n_cached(SequenceId id);  // those in the hole count
  [[nodiscard]] kernels::Hole hole(SequenceId id);
  [[nodiscard]] bool is_lost(SequenceId id);
  [[nodiscard]] std::vector<std::int32_t> tokens(SequenceId id);

  // Waits for work, does one step and fills `events`. False after stop(). An exception means that the engine is broken.
  bool step(Events& events);
  void stop();

  // From hold() to its release() no step begins, so that what is submitted meanwhile runs in one; they nest.
  void hold();
  void release() noexcept;

  [[nodiscard]] Stats stats();
  void check_integrity();  // throws std::logic_error; for tests
  [[nodiscard]] const model::Runner& runner() const noexcept { return *runner_; }

 private:
  void check_process() const;                          // throws closed where this process was forked from the engine's
  [[nodiscard]] std::unique_lock<std::mutex> enter();  // throws closed, also after stop()
  [[nodiscard]] Sequence& find(SequenceId id);
  [[nodiscard]] Sequence& find_idle(SequenceId id, const char* verb);  // throws busy while it generates
  SequenceId add(std::shared_ptr<Sequence> sequence);
  void end_generation(Sequence& sequence);
  void announce_resident(Events& events);
  void announce_lost(Events& events);
  void commit(Sequence& sequence, std::int32_t n);
  void commit_kv(Events& events);
  void draw_tokens(std::span<const std::span<const float>> logits, Events& events);
  void commit_tokens(Events& events);
  void keep_drawn(PlannedRow& row, Events& events, std::size_t& n_kept);

  std::unique_ptr<model::Runner> runner_;
  Vocabulary vocabulary_;
  const kernels::KernelTable& kernel_;
  const long process_id_;

  std::mutex mutex_;  // guards everything below it, but for plan_ and scratch_, which are step()'s
  std::condition_variable work_added_;
  SequenceCache cache_;
  Scheduler scheduler_;
  std::vector<std::shared_ptr<Sequence>> sequences_;
  std::unordered_map<SequenceId, std::shared_ptr<Sequence>> by_id_;
  std::unordered_map<GenerationId, std::shared_ptr<Sequence>> generating_;
  std::uint64_t next_id_ = 1, clock_ = 0;
  bool stopping_ = false, changed_ = false;
  int n_holding_ = 0;
  Stats stats_;

  Plan plan_;
  std::size_t n_lost_ = 0;  // events of this step that end generations of lost sequences; they come first
  ops::SamplingScratch scratch_;
};

}  // namespace kvtape::engine
