// A step of the engine: plan, run the model, draw, and hand out what came of it.

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "engine/engine.h"

namespace kvtape::engine {

bool Engine::step(Events& events) {
  events.tokens.clear();
  events.resident.clear();
  check_process();
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_added_.wait(lock, [&] { return stopping_ || n_holding_ == 0; });
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
  const auto n_new = sequence.n_computed - n_before;
  stats_.computed_tokens += static_cast<std::uint64_t>(n_new);
  stats_.recomputed_tokens += static_cast<std::uint64_t>(n - n_new);
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
    events.tokens.push_back(sequence->generation->fail(FinishReason::lost, sequence->lost_message()));
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

}  // namespace kvtape::engine
