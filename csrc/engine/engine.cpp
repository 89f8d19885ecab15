#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace kvtape::engine {
namespace {

using base::Error;
using base::ErrorCode;

std::string name(SequenceId id) { return "sequence " + std::to_string(id); }

void require_kv(const Sequence& sequence) {
  if (sequence.lost()) throw Error(ErrorCode::lost, sequence.lost_message());
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
    const bool waits = sequence.n_wanted() > 0;
    sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
    sequence.work = work;
    sequence.dropped = false;
    if (!waits) scheduler_.queue(sequence);  // else it has its place already
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
    const bool waits = sequence.n_wanted() > 0;
    const std::int32_t n_seen = sequence.n_tokens() - (sequence.hole.end - sequence.hole.begin);
    sequence.generation = std::make_shared<Generation>(generation_id, std::move(params), vocabulary_, n_seen);
    sequence.lacks_mask = sequence.generation->lacks_mask();
    if (!waits) scheduler_.queue(sequence);
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
    if (sequence.dropped) scheduler_.queue(sequence);
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

void Engine::stop() {
  {
    if (process_id_ != static_cast<long>(getpid())) return;
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_added_.notify_all();
}

void Engine::hold() {
  const auto lock = enter();
  ++n_holding_;
}

void Engine::release() noexcept {
  {
    std::lock_guard lock(mutex_);
    --n_holding_;
  }
  work_added_.notify_one();
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
