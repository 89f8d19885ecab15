#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/error.h"

namespace kvtape::engine {
namespace {

using base::Error;
using base::ErrorCode;

std::string name(SequenceId id) { return "sequence " + std::to_string(id); }

std::string lost_message(SequenceId id) {
  return "engine: " + name(id) +
         " has lost its KV, and it has a hole: append the tokens that it has left to a new sequence";
}

void require_kv(const Sequence& sequence) {
  if (sequence.lost()) throw Error(ErrorCode::lost, lost_message(sequence.id));
}

}  // namespace

Engine::Engine(std::unique_ptr<model::Runner> runner, Vocabulary vocabulary, const kernels::KernelTable& kernel)
    : runner_(std::move(runner)),
      vocabulary_(std::move(vocabulary)),
      kernel_(kernel),
      process_id_(static_cast<long>(getpid())),
      cache_(runner_->n_blocks(), runner_->block_size()),
      scheduler_(cache_) {
  if (vocabulary_.bytes->size() != static_cast<std::size_t>(runner_->vocab_size())) {
    throw Error(ErrorCode::corrupt_file, "engine: the tokenizer has " + std::to_string(vocabulary_.bytes->size()) +
                                             " tokens, the model " + std::to_string(runner_->vocab_size()));
  }
}

// Before any lock: a fork may have copied it locked.
void Engine::check_process() const {
  if (process_id_ != static_cast<long>(getpid())) {
    throw Error(ErrorCode::closed, "engine: it belongs to process " + std::to_string(process_id_) +
                                       ", from which this one was forked; make an engine after the fork");
  }
}

std::unique_lock<std::mutex> Engine::enter() {
  check_process();
  std::unique_lock lock(mutex_);
  if (stopping_) throw Error(ErrorCode::closed, "engine: it is shut down");
  return lock;
}

Sequence& Engine::find(SequenceId id) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) throw Error(ErrorCode::not_found, "engine: " + name(id) + " is not open");
  it->second->last_used = ++clock_;
  return *it->second;
}

Sequence& Engine::find_idle(SequenceId id, const char* verb) {
  Sequence& sequence = find(id);
  if (sequence.generation) {
    throw Error(ErrorCode::busy,
                "engine: " + name(id) + " is generating; " + verb + " when it has ended, or cancel it");
  }
  return sequence;
}

SequenceId Engine::add(std::shared_ptr<Sequence> sequence) {
  if (sequences_.size() >= kMaxSequences) {
    throw Error(ErrorCode::overloaded,
                "engine: " + std::to_string(kMaxSequences) + " sequences are open, the most there can be");
  }
  sequence->id = next_id_++;
  if (sequence->family == 0) sequence->family = sequence->id;
  sequence->last_used = ++clock_;
  by_id_.emplace(sequence->id, sequence);
  sequences_.push_back(sequence);
  return sequence->id;
}

SequenceId Engine::open() {
  const auto lock = enter();
  return add(std::make_shared<Sequence>());
}

SequenceId Engine::fork(SequenceId id) {
  const auto lock = enter();
  const Sequence& parent = find(id);
  require_kv(parent);
  auto child = std::make_shared<Sequence>();
  child->family = parent.family;
  const SequenceId child_id = add(child);  // refuses before blocks are shared
  cache_.share(parent, *child);
  child->dropped = true;  // tokens of its parent that lack KV are computed when they are needed
  return child_id;
}

void Engine::append(SequenceId id, std::span<const std::int32_t> tokens, WorkClass work) {
  {
    const auto lock = enter();
    Sequence& sequence = find_idle(id, "append");
    require_kv(sequence);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] < 0 || tokens[i] >= runner_->vocab_size()) {
        throw Error(ErrorCode::invalid_argument, "engine: token id " + std::to_string(tokens[i]) + " at index " +
                                                     std::to_string(i) + ", wanted 0 to " +
                                                     std::to_string(runner_->vocab_size() - 1));
      }
    }
    const auto n_free = static_cast<std::size_t>(runner_->n_ctx() - sequence.n_tokens());
    if (tokens.size() > n_free) {
      throw Error(ErrorCode::context_overflow, "engine: " + std::to_string(sequence.tokens.size() + tokens.size()) +
                                                   " tokens do not fit the context of " +
                                                   std::to_string(runner_->n_ctx()));
    }
    sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
    sequence.work = work;
    sequence.arrival = ++clock_;
    sequence.dropped = false;
    changed_ = true;
  }
  work_added_.notify_one();
}

GenerationId Engine::generate(SequenceId id, GenerationParams params) {
  ops::check(params.sampling, static_cast<std::size_t>(runner_->vocab_size()));  // a step must not be the first to see
  GenerationId generation_id;
  {
    const auto lock = enter();
    Sequence& sequence = find_idle(id, "generate again");
    require_kv(sequence);
    if (sequence.tokens.empty()) {
      throw Error(ErrorCode::invalid_argument,
                  "engine: " + name(id) + " has no tokens; append some before it generates");
    }
    if (sequence.n_tokens() >= runner_->n_ctx()) {
      throw Error(ErrorCode::context_overflow, "engine: " + name(id) + " fills its context of " +
                                                   std::to_string(runner_->n_ctx()) +
                                                   " tokens; nothing can be generated");
    }
    const std::int32_t n_free = runner_->n_ctx() - sequence.n_tokens();
    params.max_tokens = std::min(params.max_tokens.value_or(n_free), n_free);
    generation_id = next_id_++;
    const std::int32_t n_seen = sequence.n_tokens() - (sequence.hole.end - sequence.hole.begin);
    sequence.generation = std::make_shared<Generation>(generation_id, std::move(params), vocabulary_, n_seen);
    sequence.lacks_mask = sequence.generation->lacks_mask();
    sequence.arrival = ++clock_;
    generating_.emplace(generation_id, by_id_.at(id));
    changed_ = true;
  }
  work_added_.notify_one();
  return generation_id;
}

void Engine::set_mask(GenerationId id, std::span<const std::uint64_t> words) {
  {
    const auto lock = enter();
    const auto it = generating_.find(id);
    if (it == generating_.end()) return;
    it->second->generation->set_mask(words);
    it->second->lacks_mask = false;
    changed_ = true;
  }
  work_added_.notify_one();
}

void Engine::end_generation(Sequence& sequence) {
  generating_.erase(sequence.generation->id());
  sequence.generation.reset();
  sequence.lacks_mask = false;
  sequence.n_computed = 0;
}

void Engine::cancel(GenerationId id) {
  {
    const auto lock = enter();
    const auto it = generating_.find(id);
    if (it == generating_.end()) return;
    const auto sequence = it->second;
    sequence->generation->cancelled = true;
    end_generation(*sequence);
    sequence->dropped = true;  // what it had not computed is not wanted any more
    changed_ = true;           // somebody may have been waiting for blocks that it held while it waited for a mask
  }
  work_added_.notify_one();
}

void Engine::truncate(SequenceId id, std::int32_t n_tokens) {
  {
    const auto lock = enter();
    Sequence& sequence = find_idle(id, "truncate");
    if (n_tokens < 0 || n_tokens > sequence.n_tokens()) {
      throw Error(ErrorCode::invalid_argument, "engine: " + name(id) + " has " + std::to_string(sequence.n_tokens()) +
                                                   " tokens, truncate wants 0 to that, found " +
                                                   std::to_string(n_tokens));
    }
    if (sequence.hole.begin < n_tokens && n_tokens <= sequence.hole.end) {
      throw Error(ErrorCode::invalid_argument,
                  "engine: " + name(id) + " has a hole from " + std::to_string(sequence.hole.begin) + " to " +
                      std::to_string(sequence.hole.end) + ", truncate cannot end inside: " + std::to_string(n_tokens));
    }
    if (n_tokens > sequence.hole.end) require_kv(sequence);
    cache_.truncate(sequence, n_tokens);
    ++sequence.epoch;
    changed_ = true;  // it may be resident now
  }
  work_added_.notify_one();
}

void Engine::evict(SequenceId id, std::int32_t begin, std::int32_t end) {
  {
    const auto lock = enter();
    Sequence& sequence = find_idle(id, "evict");
    require_kv(sequence);
    const kernels::Hole hole = sequence.hole;
    const bool grows = hole.empty() ? begin >= 0 : begin == hole.begin && end >= hole.end;
    if (!grows || end <= begin || end >= sequence.n_tokens()) {
      throw Error(ErrorCode::invalid_argument,
                  "engine: " + name(id) + " has " + std::to_string(sequence.n_tokens()) + " tokens and a hole from " +
                      std::to_string(hole.begin) + " to " + std::to_string(hole.end) +
                      ", evict wants it to grow to the right and the last token to stay, found " +
                      std::to_string(begin) + " to " + std::to_string(end));
    }
    if (sequence.n_cached + 1 < sequence.n_tokens()) {
      throw Error(ErrorCode::busy, "engine: " + name(id) + " has tokens without KV; evict when it is resident");
    }
    cache_.evict(sequence, {begin, end});
    ++sequence.epoch;
    changed_ = true;  // somebody may have been waiting for blocks
  }
  work_added_.notify_one();
}

void Engine::close(SequenceId id) {
  {
    const auto lock = enter();
    Sequence& sequence = find(id);
    if (sequence.generation) {
      sequence.generation->cancelled = true;
      end_generation(sequence);
    }
    // A running step may still write the blocks; they are not handed out again before it has ended.
    cache_.close(sequence);
    ++sequence.epoch;
    std::erase_if(sequences_, [&](const auto& other) { return other->id == id; });
    by_id_.erase(id);
    changed_ = true;  // as in cancel()
  }
  work_added_.notify_one();
}

void Engine::freeze(SequenceId id, std::int32_t n_tokens) {
  const auto lock = enter();
  Sequence& sequence = find(id);
  cache_.freeze(sequence, std::clamp(n_tokens, 0, sequence.n_tokens()));
}

bool Engine::request_resident(SequenceId id) {
  bool resident;
  {
    const auto lock = enter();
    Sequence& sequence = find(id);
    require_kv(sequence);
    if (sequence.dropped) sequence.arrival = ++clock_;
    sequence.dropped = false;
    resident = sequence.n_cached + 1 >= sequence.n_tokens();
    sequence.resident_wanted = !resident;
    changed_ |= !resident;
  }
  if (!resident) work_added_.notify_one();
  return resident;
}

std::int32_t Engine::n_tokens(SequenceId id) {
  const auto lock = enter();
  return find(id).n_tokens();
}

std::int32_t Engine::n_cached(SequenceId id) {
  const auto lock = enter();
  return find(id).n_cached;
}

kernels::Hole Engine::hole(SequenceId id) {
  const auto lock = enter();
  return find(id).hole;
}

bool Engine::is_lost(SequenceId id) {
  const auto lock = enter();
  return find(id).lost();
}

std::vector<std::int32_t> Engine::tokens(SequenceId id) {
  const auto lock = enter();
  return find(id).tokens;
}

bool Engine::step(Events& events) {
  events.tokens.clear();
  events.resident.clear();
  check_process();
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (stopping_) return false;
      changed_ = false;
      scheduler_.make_plan(sequences_, plan_, stats_);
      announce_resident(events);  // the prefix index may have had all that was missing
      announce_lost(events);
      if (!plan_.rows.empty()) break;
      if (!events.resident.empty() || !events.tokens.empty()) return true;
      work_added_.wait(lock, [&] { return stopping_ || changed_; });
    }
    ++stats_.steps;
  }
  if (!plan_.copies.empty()) runner_->copy_blocks(plan_.copies);
  const auto began = std::chrono::steady_clock::now();
  const auto logits = runner_->forward(plan_.batch());
  scheduler_.learn(plan_, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  commit_kv(events);
  draw_tokens(logits, events);
  commit_tokens(events);
  return true;
}

void Engine::commit(Sequence& sequence, std::int32_t n) {
  const auto n_before = sequence.n_computed;
  cache_.commit(sequence, n);
  stats_.computed_tokens += static_cast<std::uint64_t>(sequence.n_computed - n_before);
}

void Engine::commit_kv(Events& events) {
  std::lock_guard lock(mutex_);
  for (PlannedRow& row : plan_.rows) {
    Sequence& sequence = *row.sequence;
    if (sequence.epoch != row.epoch) {
      ++stats_.dropped_results;
      row.generation.reset();
      continue;
    }
    commit(sequence, row.n_tokens);
    row.n_computed = sequence.n_computed;
    if (row.generation && !row.generation->try_use_mask()) {
      ++stats_.late_masks;
      row.generation.reset();
    }
  }
  announce_resident(events);
}

void Engine::announce_resident(Events& events) {
  for (const auto& sequence : sequences_) {
    if (!sequence->resident_wanted || sequence->n_cached + 1 < sequence->n_tokens()) continue;
    sequence->resident_wanted = false;
    events.resident.push_back(sequence->id);
  }
}

// Planning took the KV of sequences that cannot be computed again. What they generate ends, and whoever waits for one is
// told to look at it.
void Engine::announce_lost(Events& events) {
  for (const auto& sequence : sequences_) {
    if (!sequence->lost()) continue;
    if (sequence->resident_wanted) events.resident.push_back(sequence->id);
    sequence->resident_wanted = false;
    if (!sequence->generation) continue;
    events.tokens.push_back(sequence->generation->fail(FinishReason::lost, lost_message(sequence->id)));
    end_generation(*sequence);
  }
  n_lost_ = events.tokens.size();
}

// A row draws its next token, and while that is the drafted one, whose logits are there already, the one after it.
void Engine::draw_tokens(std::span<const std::span<const float>> logits, Events& events) {
  for (PlannedRow& row : plan_.rows) {
    if (!row.samples) continue;
    const auto row_logits = logits.first(1 + row.drafted.size());
    logits = logits.subspan(row_logits.size());
    if (!row.generation) continue;
    row.first_event = events.tokens.size();
    const auto history = std::span<const std::int32_t>(plan_.history).subspan(row.history_begin);
    for (std::size_t i = 0;; ++i) {
      const auto newest = history.first(row.n_history == 0 ? 0 : row.n_history + i);
      events.tokens.push_back(row.generation->draw(kernel_, row_logits[i], newest, row.n_computed, scratch_));
      const TokenEvent& event = events.tokens.back();
      const bool right = i < row.drafted.size() && event.token == row.drafted[i];
      if (!right || event.finish != FinishReason::none || row.generation->needs_mask()) break;
    }
    row.n_events = events.tokens.size() - row.first_event;
    if (!row.drafted.empty()) row.generation->drafter()->learn(row.n_events - 1, row.drafted.size());
  }
}

void Engine::commit_tokens(Events& events) {
  std::lock_guard lock(mutex_);
  std::size_t n_kept = n_lost_;
  for (PlannedRow& row : plan_.rows) {
    if (row.generation) keep_drawn(row, events, n_kept);
    if (!row.drafted.empty()) cache_.trim(*row.sequence);
  }
  events.tokens.resize(n_kept);
}

// Moves the row's events behind the first n_kept. Of its drafts, those that another token was drawn behind have KV now.
void Engine::keep_drawn(PlannedRow& row, Events& events, std::size_t& n_kept) {
  Sequence& sequence = *row.sequence;
  if (row.generation->cancelled) {
    stats_.dropped_results += row.n_events;
    return;
  }
  const auto drawn = std::span(events.tokens).subspan(row.first_event, row.n_events);
  for (const TokenEvent& event : drawn) {
    if (event.finish == FinishReason::error) continue;
    sequence.tokens.push_back(event.token);
    ++stats_.generated_tokens;
  }
  stats_.drafted_tokens += row.drafted.size();
  stats_.accepted_tokens += row.n_events - 1;
  commit(sequence, static_cast<std::int32_t>(row.n_events) - 1);
  sequence.lacks_mask = row.generation->lacks_mask();
  const TokenEvent& last = drawn.back();
  if (last.finish != FinishReason::none) {
    stats_.prompt_tokens += static_cast<std::uint64_t>(last.usage.prompt_tokens);
    stats_.cached_tokens += static_cast<std::uint64_t>(last.usage.cached_tokens);
    end_generation(sequence);
  }
  if (row.first_event != n_kept) std::ranges::move(drawn, events.tokens.begin() + static_cast<std::ptrdiff_t>(n_kept));
  n_kept += row.n_events;
}

void Engine::stop() {
  {
    if (process_id_ != static_cast<long>(getpid())) return;
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_added_.notify_all();
}

Stats Engine::stats() {
  const auto lock = enter();
  Stats stats = stats_;
  stats.n_sequences = static_cast<std::int32_t>(sequences_.size());
  stats.n_running = static_cast<std::int32_t>(generating_.size());
  stats.n_pending =
      static_cast<std::int32_t>(std::ranges::count_if(sequences_, [](const auto& s) { return s->n_wanted() > 0; }));
  stats.n_blocks = cache_.pool().n_blocks();
  stats.n_blocks_free = cache_.pool().n_free();
  stats.n_blocks_indexed = cache_.index().n_nodes();
  return stats;
}

void Engine::check_integrity() {
  const auto lock = enter();
  std::vector<const Sequence*> open;
  for (const auto& sequence : sequences_) open.push_back(sequence.get());
  cache_.check_integrity(open);
}

}  // namespace kvtape::engine
