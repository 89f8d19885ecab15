// Random programs of open, append, fork, truncate, evict, generate, cancel, close and pressure on the pool, against the
// same sequences computed on their own: every token equal, every block accounted for.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "base/error.h"
#include "check.h"
#include "engine/chain_runner.h"
#include "engine/engine.h"

namespace {

using namespace kvtape;
using engine::Engine;
using engine::FinishReason;
using engine::GenerationId;
using engine::SequenceId;
using engine::WorkClass;
using Tokens = std::vector<std::int32_t>;

// Which tokens may follow these in a guided generation: a few, never none.
std::uint64_t mask_after(std::span<const std::int32_t> tokens) {
  const std::uint64_t h = test::chain(test::chain(tokens), 99);
  return (h & (h >> 20) & ((std::uint64_t{1} << test::kVocab) - 1)) | std::uint64_t{2} << (h >> 60);
}

// The engine's thread, and what it said; and a thread that computes masks, sometimes long after they are needed.
class Driver {
 public:
  Driver(std::int32_t n_blocks, std::int32_t n_ctx) {
    auto runner = std::make_unique<test::ChainRunner>(n_blocks, n_ctx);
    runner_ = runner.get();
    engine = std::make_unique<Engine>(std::move(runner), test::chain_vocabulary(), ops::table("ref"));
    thread_ = std::thread([this] {
      engine::Events said;
      while (engine->step(said)) {
        std::lock_guard lock(mutex_);
        for (auto& event : said.tokens) {
          const auto guided = guided_.find(event.generation);
          if (guided != guided_.end()) {
            guided->second.push_back(event.token);
            if (event.finish == FinishReason::none) to_guide_.push_back({event.generation, guided->second});
          }
          events[event.generation].push_back(std::move(event));
        }
        for (const auto id : said.resident) resident[id] = true;
        said_.notify_all();
      }
    });
    guide_ = std::thread([this] { compute_masks(); });
  }
  ~Driver() {
    {
      std::lock_guard lock(mutex_);
      to_guide_.push_back({0, {}});
    }
    said_.notify_all();
    guide_.join();
    engine->stop();
    thread_.join();
    CHECK(runner_->spans_hold);
  }

  std::vector<engine::TokenEvent> wait_end(GenerationId id) {
    std::unique_lock lock(mutex_);
    const bool came = said_.wait_for(lock, std::chrono::seconds(60), [&] {
      return !events[id].empty() && events[id].back().finish != FinishReason::none;
    });
    CHECK(came, "generation %llu did not end", static_cast<unsigned long long>(id));
    return events[id];
  }

  // Starts a generation whose tokens follow mask_after().
  GenerationId generate_guided(SequenceId id, engine::GenerationParams p, const Tokens& tokens) {
    p.guided = true;
    const GenerationId generation = engine->generate(id, std::move(p));
    {
      std::lock_guard lock(mutex_);
      guided_[generation] = tokens;
      to_guide_.push_back({generation, tokens});
    }
    said_.notify_all();
    return generation;
  }

  void wait_events(GenerationId id, std::size_t n) {
    std::unique_lock lock(mutex_);
    said_.wait_for(lock, std::chrono::seconds(60), [&] {
      return events[id].size() >= n || (!events[id].empty() && events[id].back().finish != FinishReason::none);
    });
  }

  bool wait_resident(SequenceId id) {
    {
      std::lock_guard lock(mutex_);
      resident[id] = false;
    }
    if (engine->request_resident(id)) return true;
    std::unique_lock lock(mutex_);
    return said_.wait_for(lock, std::chrono::seconds(60), [&] { return resident[id]; });
  }

  std::unique_ptr<Engine> engine;
  std::map<GenerationId, std::vector<engine::TokenEvent>> events;
  std::map<SequenceId, bool> resident;

 private:
  void compute_masks() {
    std::mt19937_64 random(5);
    for (;;) {
      std::pair<GenerationId, Tokens> next;
      {
        std::unique_lock lock(mutex_);
        said_.wait(lock, [&] { return !to_guide_.empty(); });
        next = std::move(to_guide_.front());
        to_guide_.pop_front();
      }
      if (next.first == 0) return;
      if (random() % 2 == 0) {
        for (std::size_t spin = random() % 20000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      const std::uint64_t mask = mask_after(next.second);
      engine->set_mask(next.first, std::span(&mask, 1));
    }
  }

  test::ChainRunner* runner_;
  std::map<GenerationId, Tokens> guided_;
  std::deque<std::pair<GenerationId, Tokens>> to_guide_;
  std::thread thread_, guide_;
  std::mutex mutex_;
  std::condition_variable said_;
};

// A sequence as it should be.
struct Held {
  SequenceId id;
  Tokens tokens;
  kernels::Hole hole = {};
  std::vector<std::uint64_t> old_kv = {};  // of the tokens that were computed before the hole grew

  void add_kv(std::vector<std::uint64_t>& kv) const {  // of the tokens behind those
    for (auto position = static_cast<std::int32_t>(kv.size()); position < std::ssize(tokens); ++position) {
      const auto kv_of = [&](std::int32_t p) { return kv[static_cast<std::size_t>(p)]; };
      kv.push_back(test::chain(test::chain_before(position, hole, kv_of), tokens[static_cast<std::size_t>(position)]));
    }
  }

  void evict(std::int32_t begin, std::int32_t end) {
    add_kv(old_kv);
    old_kv.pop_back();  // the last token is computed anew
    hole = {begin, end};
  }

  void truncate(std::size_t n) {
    tokens.resize(n);
    if (std::ssize(tokens) <= hole.begin) hole = {};
    old_kv.resize(hole.empty() ? 0 : std::min(old_kv.size(), n - 1));
  }

  [[nodiscard]] std::size_t n_seen() const { return tokens.size() - static_cast<std::size_t>(hole.end - hole.begin); }
};

// What a generation on its own gives: greedy over the chain's logits, of the allowed tokens where there are some.
Tokens expected(Held held, std::size_t max_tokens, std::size_t n_ctx, const Tokens& allowed = {}, bool guided = false) {
  Tokens drawn;
  Tokens& tokens = held.tokens;
  std::vector<std::uint64_t> kv = held.old_kv;
  std::vector<float> logits(test::kVocab);
  while (drawn.size() < max_tokens && tokens.size() < n_ctx) {
    held.add_kv(kv);
    test::fill_logits(kv.back(), tokens.back(), logits);
    for (std::int32_t id = 0; id < test::kVocab && !allowed.empty(); ++id) {
      if (!std::ranges::binary_search(allowed, id)) logits[static_cast<std::size_t>(id)] = -1e9f;
    }
    for (std::size_t id = 0; id < test::kVocab && guided; ++id) {
      if ((mask_after(tokens) >> id & 1) == 0) logits[id] = -1e9f;
    }
    const auto token = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    tokens.push_back(token);
    drawn.push_back(token);
    if (token == test::kEos) break;
  }
  return drawn;
}

Tokens expected(const Tokens& tokens, std::size_t max_tokens, std::size_t n_ctx, const Tokens& allowed = {},
                bool guided = false) {
  return expected(Held{.id = 0, .tokens = tokens}, max_tokens, n_ctx, allowed, guided);
}

engine::GenerationParams params(std::int32_t max_tokens, WorkClass work, Tokens allowed = {}) {
  engine::GenerationParams p;
  p.sampling.allowed_tokens = std::move(allowed);
  p.max_tokens = max_tokens;
  p.work = work;
  return p;
}

class Program {
 public:
  Program(std::uint64_t seed, std::int32_t n_blocks) : random_(seed), n_blocks_(n_blocks), driver_(n_blocks, kCtx) {}

  std::uint64_t n_accepted = 0;
  std::size_t n_evicted = 0, n_lost = 0;

  void run(int n_operations) {
    for (int i = 0; i < n_operations; ++i) {
      try {
        operate();
      } catch (const base::Error& error) {
        CHECK(error.code() == base::ErrorCode::lost, "%s", error.what());
        rebase_lost();
      }
    }
    Engine& engine = *driver_.engine;
    for (const auto& held : held_) CHECK(engine.tokens(held.id) == held.tokens);
    engine.check_integrity();
    for (const auto& held : held_) engine.close(held.id);
    engine.check_integrity();
    const auto stats = engine.stats();
    CHECK(stats.n_sequences == 0 && stats.n_running == 0);
    n_lost += stats.sequences_lost;
    CHECK(stats.accepted_tokens <= stats.drafted_tokens);
    n_accepted += stats.accepted_tokens;
    CHECK(stats.n_blocks_free + stats.n_blocks_indexed == n_blocks_, "%d free, %d indexed of %d", stats.n_blocks_free,
          stats.n_blocks_indexed, n_blocks_);
  }

 private:
  static constexpr std::int32_t kCtx = 48;

  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
  Held& any() { return held_[below(held_.size())]; }
  WorkClass any_work() { return static_cast<WorkClass>(below(4)); }

  // Lengths around the block size more often than not; few distinct tokens, so that prefixes meet.
  Tokens any_tokens() {
    static constexpr std::size_t kLengths[] = {1, test::kBlock - 1, test::kBlock, test::kBlock + 1, 2 * test::kBlock,
                                               13};
    Tokens tokens(kLengths[below(6)]);
    const auto kind = static_cast<std::int32_t>(below(3));
    for (auto& token : tokens) token = 1 + kind + static_cast<std::int32_t>(below(20) == 0);
    return tokens;
  }

  // Ids that an answer is a choice of; as often none, so that all are.
  Tokens any_choice() {
    Tokens allowed;
    for (std::int32_t id = 0; id < test::kVocab; ++id) {
      if (below(8) == 0) allowed.push_back(id);
    }
    return below(2) == 0 ? Tokens{} : allowed;
  }

  void operate() {
    Engine& engine = *driver_.engine;
    const std::size_t choice = held_.empty() ? 0 : below(13);
    if (choice <= 1 && held_.size() < 8) {
      held_.push_back({.id = engine.open(), .tokens = {}});
    } else if (choice <= 4) {
      Held& held = any();
      const Tokens more = any_tokens();
      if (held.tokens.size() + more.size() > kCtx) {
        try {
          engine.append(held.id, more, WorkClass::ingest);
          CHECK(false, "an append beyond the context must be refused");
        } catch (const base::Error& error) {
          if (error.code() == base::ErrorCode::lost) throw;
          CHECK(error.code() == base::ErrorCode::context_overflow);
        }
        return;
      }
      engine.append(held.id, more, any_work());
      held.tokens.insert(held.tokens.end(), more.begin(), more.end());
    } else if (choice == 5 && held_.size() < 8) {
      Held child = any();
      child.id = engine.fork(child.id);
      held_.push_back(child);
    } else if (choice == 6) {
      Held& held = any();
      const std::size_t n = below(held.tokens.size() + 1);
      try {
        engine.truncate(held.id, static_cast<std::int32_t>(n));
        held.truncate(n);
      } catch (const base::Error& error) {
        if (error.code() == base::ErrorCode::lost) throw;
        CHECK(static_cast<std::int32_t>(n) > held.hole.begin && static_cast<std::int32_t>(n) <= held.hole.end);
      }
    } else if (choice == 7) {
      const std::size_t i = below(held_.size());
      if (below(2) == 0 && !held_[i].tokens.empty() && held_[i].tokens.size() < kCtx) {
        if (below(2) == 0) {  // closed while it runs
          (void)engine.generate(held_[i].id, params(9, any_work(), any_choice()));
        } else {
          (void)driver_.generate_guided(held_[i].id, params(9, any_work()), held_[i].tokens);
        }
      }
      engine.close(held_[i].id);
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    } else if (choice == 8) {
      Held& held = any();
      CHECK(driver_.wait_resident(held.id));
    } else if (choice >= 11) {
      evict(any());
    } else {
      generate_some();
    }
  }

  void evict(Held& held) {
    const auto n = static_cast<std::int32_t>(held.tokens.size());
    const std::int32_t begin = held.hole.empty() ? static_cast<std::int32_t>(below(9)) : held.hole.begin;
    const std::int32_t end = std::max(begin, held.hole.end) + static_cast<std::int32_t>(1 + below(7));
    CHECK(driver_.wait_resident(held.id));
    try {
      driver_.engine->evict(held.id, begin, end);
      held.evict(begin, end);
      ++n_evicted;
    } catch (const base::Error& error) {
      if (error.code() == base::ErrorCode::lost) throw;
      // or somebody has taken its KV since it was resident
      CHECK(error.code() == (end < n ? base::ErrorCode::busy : base::ErrorCode::invalid_argument));
    }
  }

  // As a session does: what is left goes to a new sequence; or back to before the hole.
  void rebase_lost() {
    Engine& engine = *driver_.engine;
    for (Held& held : held_) {
      if (!engine.is_lost(held.id)) continue;
      CHECK(!held.hole.empty() && engine.n_cached(held.id) == 0);
      if (below(3) == 0) {
        engine.truncate(held.id, held.hole.begin);
        held.truncate(static_cast<std::size_t>(held.hole.begin));
        continue;
      }
      engine.close(held.id);
      held.tokens.erase(held.tokens.begin() + held.hole.begin, held.tokens.begin() + held.hole.end);
      held = {.id = engine.open(), .tokens = held.tokens};
      engine.append(held.id, held.tokens, any_work());
    }
  }

  // Several at once, some cancelled after a few tokens; the others must not notice.
  void generate_some() {
    Engine& engine = *driver_.engine;
    struct Running {
      std::size_t held;
      GenerationId id;
      std::size_t max_tokens;
      Tokens allowed;
      bool guided, cancel;
    };
    std::vector<Running> running;
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const auto& held = held_[i];
      if (held.tokens.empty() || held.tokens.size() >= kCtx || below(2) == 0) continue;
      const std::size_t max_tokens = 1 + below(below(3) == 0 ? 30 : 7);  // long enough for drafts, some of them
      const bool guided = below(3) == 0;
      const Tokens allowed = guided ? Tokens{} : any_choice();
      const auto generation = params(static_cast<std::int32_t>(max_tokens), any_work(), allowed);
      GenerationId id;
      try {
        id = guided ? driver_.generate_guided(held.id, generation, held.tokens) : engine.generate(held.id, generation);
      } catch (const base::Error& error) {
        CHECK(error.code() == base::ErrorCode::lost && !held.hole.empty());
        continue;
      }
      running.push_back({i, id, max_tokens, allowed, guided, below(4) == 0});
    }
    for (const auto& r : running) {
      if (!r.cancel) continue;
      driver_.wait_events(r.id, below(3));
      engine.cancel(r.id);
    }
    for (const auto& r : running) {
      Held& held = held_[r.held];
      const Tokens wanted = expected(held, r.max_tokens, kCtx, r.allowed, r.guided);
      if (r.cancel) {  // what it said before is true, and it holds exactly that or one more
        const Tokens now = engine.tokens(held.id);
        CHECK(now.size() >= held.tokens.size() && now.size() <= held.tokens.size() + wanted.size());
        const Tokens drawn(now.begin() + static_cast<std::ptrdiff_t>(held.tokens.size()), now.end());
        CHECK(std::equal(drawn.begin(), drawn.end(), wanted.begin()));
        held.tokens = now;
        continue;
      }
      const auto events = driver_.wait_end(r.id);
      if (events.empty()) continue;
      const bool lost = events.back().finish == FinishReason::lost;
      Tokens drawn;
      for (const auto& event : events) drawn.push_back(event.token);
      if (lost) {
        drawn.pop_back();
        CHECK(!held.hole.empty() && std::equal(drawn.begin(), drawn.end(), wanted.begin()));
        held.tokens.insert(held.tokens.end(), drawn.begin(), drawn.end());
        continue;
      }
      CHECK(drawn == wanted);
      const bool eos = drawn.back() == test::kEos;
      CHECK(events.back().finish == (eos ? FinishReason::stop : FinishReason::length));
      const auto& usage = events.back().usage;
      CHECK(usage.prompt_tokens == static_cast<std::int32_t>(held.n_seen()));
      CHECK(usage.completion_tokens == static_cast<std::int32_t>(drawn.size()));
      CHECK(usage.cached_tokens >= 0 && usage.cached_tokens <= usage.prompt_tokens);
      held.tokens.insert(held.tokens.end(), drawn.begin(), drawn.end());
    }
  }

  std::mt19937_64 random_;
  std::int32_t n_blocks_;
  Driver driver_;
  std::vector<Held> held_;
};

// Cancels at random phases: neighbours unchanged, no block left behind.
void test_cancels(int n_cancels) {
  Driver driver(64, 48);
  Engine& engine = *driver.engine;
  std::mt19937_64 random(7);
  const Tokens neighbour_prompt{3, 4, 5, 6, 7};
  for (int i = 0; i < n_cancels;) {
    const SequenceId neighbour = engine.open();
    engine.append(neighbour, neighbour_prompt, WorkClass::interactive);
    const GenerationId stays = engine.generate(neighbour, params(12, WorkClass::interactive));
    for (int j = 0; j < 10; ++j, ++i) {
      const SequenceId id = engine.open();
      engine.append(id, Tokens(1 + random() % 20, static_cast<std::int32_t>(1 + random() % 5)), WorkClass::interactive);
      const GenerationId goes = engine.generate(id, params(20, WorkClass::interactive));
      if (random() % 2 == 0) driver.wait_events(goes, random() % 4);
      if (random() % 2 == 0) engine.cancel(goes);
      engine.close(id);
    }
    Tokens drawn;
    for (const auto& event : driver.wait_end(stays)) drawn.push_back(event.token);
    CHECK(drawn == expected(neighbour_prompt, 12, 48));
    engine.close(neighbour);
  }
  engine.check_integrity();
  const auto stats = engine.stats();
  CHECK(stats.n_blocks_free + stats.n_blocks_indexed == stats.n_blocks);
}

// A second generation starts while the step of the first, cancelled one still runs.
void test_generating_again_right_after_a_cancel(int n_rounds) {
  Driver driver(64, 48);
  Engine& engine = *driver.engine;
  std::mt19937_64 random(11);
  const SequenceId id = engine.open();
  const Tokens prompt{3, 4, 5, 6, 7};
  engine.append(id, prompt, WorkClass::interactive);
  for (int i = 0; i < n_rounds; ++i) {
    const GenerationId first = engine.generate(id, params(20, WorkClass::interactive));
    if (random() % 4 == 0) driver.wait_events(first, random() % 3);
    for (std::size_t spin = random() % 2000; spin > 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
    engine.cancel(first);
    const Tokens held = engine.tokens(id);
    Tokens drawn;
    for (const auto& event : driver.wait_end(engine.generate(id, params(3, WorkClass::interactive))))
      drawn.push_back(event.token);
    CHECK(drawn == expected(held, 3, 48));
    if (drawn != expected(held, 3, 48)) return;
    engine.truncate(id, static_cast<std::int32_t>(prompt.size()));
  }
}

void test_usage_counts_what_was_computed() {
  Driver driver(64, 48);
  Engine& engine = *driver.engine;
  const Tokens prompt(10, 3);
  const auto cached_of = [&](SequenceId id) {
    const auto events = driver.wait_end(engine.generate(id, params(1, WorkClass::interactive)));
    return events.back().usage.cached_tokens;
  };
  const SequenceId cold = engine.open();
  engine.append(cold, prompt, WorkClass::interactive);
  CHECK(cached_of(cold) == 0);
  const SequenceId warm = engine.open();
  engine.append(warm, prompt, WorkClass::interactive);
  CHECK(cached_of(warm) == 8);  // two whole blocks from the index
  const SequenceId differs = engine.open();
  engine.append(differs, Tokens{3, 3, 3, 3, 3, 3, 9, 3, 3, 3}, WorkClass::interactive);
  CHECK(cached_of(differs) == 6);  // one whole block, and half of the next
  engine.append(warm, Tokens{5, 6, 7}, WorkClass::interactive);
  CHECK(cached_of(warm) == 10);  // 11 held, the last of them without KV; 4 computed
  const SequenceId twin = engine.fork(warm);
  engine.append(twin, Tokens{9}, WorkClass::interactive);
  CHECK(cached_of(twin) == 14);
}

// What is submitted under hold() runs in one step, after the last release().
void test_holds() {
  Driver driver(64, 48);
  Engine& engine = *driver.engine;
  const auto steps = engine.stats().steps;
  std::vector<GenerationId> ids;
  engine.hold();
  engine.hold();
  for (std::int32_t i = 0; i < 5; ++i) {
    const SequenceId id = engine.open();
    engine.append(id, Tokens{3, 4, i}, WorkClass::flash);
    ids.push_back(engine.generate(id, params(2, WorkClass::flash)));
    if (i == 2) engine.release();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(engine.stats().steps == steps);
  engine.release();
  for (const auto id : ids) driver.wait_end(id);
  CHECK(engine.stats().steps == steps + 2);
  engine.hold();  // and does not keep the engine from stopping
}

// Without its mask a generation takes no step beyond its prompt, and holds nobody up; with it, it goes on.
void test_waits_for_masks() {
  Driver driver(64, 48);
  Engine& engine = *driver.engine;
  const Tokens prompt{3, 4, 5, 6, 7};
  const SequenceId id = engine.open(), other = engine.open();
  engine.append(id, prompt, WorkClass::interactive);
  engine.append(other, prompt, WorkClass::interactive);
  engine::GenerationParams guided = params(2, WorkClass::interactive);
  guided.guided = true;
  const GenerationId waits = engine.generate(id, guided);
  Tokens drawn;
  for (const auto& event : driver.wait_end(engine.generate(other, params(12, WorkClass::interactive))))
    drawn.push_back(event.token);
  CHECK(drawn == expected(prompt, 12, 48));
  const std::uint64_t n_steps = engine.stats().steps;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(engine.stats().steps == n_steps);  // nobody runs in circles for it
  CHECK(engine.stats().late_masks == 1 && engine.stats().n_pending == 0);
  Tokens guided_tokens = prompt;
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t mask = mask_after(guided_tokens);
    engine.set_mask(waits, std::span(&mask, 1));
    driver.wait_events(waits, static_cast<std::size_t>(i + 1));
    guided_tokens = engine.tokens(id);
  }
  const Tokens wanted = expected(prompt, 2, 48, {}, true);
  CHECK(std::equal(guided_tokens.begin() + 5, guided_tokens.end(), wanted.begin(), wanted.end()));
  const std::uint64_t mask = 2;
  engine.set_mask(waits, std::span(&mask, 1));  // it has ended: no error

  // A mask in which nothing is allowed ends it with an error, and one of the wrong length is refused.
  engine.truncate(id, 5);
  const GenerationId fails = engine.generate(id, guided);
  const std::uint64_t nothing[2] = {};
  try {
    engine.set_mask(fails, nothing);
    CHECK(false, "a mask of two words must be refused");
  } catch (const base::Error& error) {
    CHECK(error.code() == base::ErrorCode::invalid_argument);
  }
  engine.set_mask(fails, std::span(nothing, 1));
  CHECK(driver.wait_end(fails).back().finish == FinishReason::error);
}

// Reasoning needs no masks, drafts included; what follows it does.
void test_guided_behind_reasoning() {
  Driver driver(64, 96);
  Engine& engine = *driver.engine;
  const Tokens allowed{1, 2, 3, 5, 8, 13, 21, 34};
  std::uint64_t mask = 0;
  for (const std::int32_t id : allowed) mask |= std::uint64_t{1} << id;
  for (std::int32_t close = 1; close < test::kVocab; ++close) {
    for (const std::optional<std::int32_t> budget : {std::optional<std::int32_t>{}, std::optional<std::int32_t>{3}}) {
      const Tokens prompt{3, 4, 5, 6, 7, close};
      Tokens reasoning = expected(prompt, budget.value_or(20), 96);
      const auto end = std::ranges::find(reasoning, close);
      if (end == reasoning.end() && !budget) continue;
      reasoning.erase(end == reasoning.end() ? end : end + 1, reasoning.end());
      if (reasoning.empty() || reasoning.back() == test::kEos) continue;
      if (reasoning.back() != close) reasoning.push_back(close);  // by force
      engine::GenerationParams p = params(static_cast<std::int32_t>(reasoning.size() + 6), WorkClass::interactive);
      p.guided = true;
      p.speculate = true;
      p.text.reasoning = {.open = "<r>",
                          .close = std::string(1, static_cast<char>('0' + close)),
                          .opened = true,
                          .budget = budget,
                          .close_ids = {close}};
      const SequenceId id = engine.open();
      engine.append(id, prompt, WorkClass::interactive);
      const GenerationId generation = engine.generate(id, p);
      driver.wait_events(generation, reasoning.size());
      CHECK(engine.tokens(id).size() == prompt.size() + reasoning.size());  // and waits there
      Tokens drawn, whole = prompt;
      whole.insert(whole.end(), reasoning.begin(), reasoning.end());
      for (std::size_t n = reasoning.size() + 1; n <= reasoning.size() + 6; ++n) {
        engine.set_mask(generation, std::span(&mask, 1));
        driver.wait_events(generation, n);
      }
      const auto events = driver.wait_end(generation);
      for (std::size_t i = 0; i < events.size(); ++i) {
        drawn.push_back(events[i].token);
        CHECK(events[i].guided == (i >= reasoning.size()));
      }
      Tokens wanted = reasoning;
      for (const auto token : expected(whole, 6, 96, allowed)) wanted.push_back(token);
      CHECK(drawn == wanted);
      engine.close(id);
    }
  }
  engine.check_integrity();
}

// A conversation goes on after its sequence is closed: only what is new is computed, wherever the blocks end.
void test_a_closed_sequence_is_continued() {
  Driver driver(64, 48);
  Engine& engine = *driver.engine;
  Tokens held;
  std::int32_t n_resident = 0;  // the last token drawn has no KV
  for (std::int32_t turn = 0; turn < 8; ++turn) {
    const SequenceId id = engine.open();
    for (std::int32_t i = 0; i <= turn % 3; ++i) held.push_back(1 + (turn + i) % 5);
    engine.append(id, held, WorkClass::interactive);
    const auto events = driver.wait_end(engine.generate(id, params(2, WorkClass::interactive)));
    CHECK(events.back().usage.cached_tokens == n_resident);
    for (const auto& event : events) held.push_back(event.token);
    n_resident = static_cast<std::int32_t>(held.size()) - 1;
    engine.close(id);
    engine.check_integrity();
  }
  CHECK(engine.stats().n_blocks_indexed <= static_cast<std::int32_t>(held.size()) / test::kBlock + 1);
}

// An engine whose steps are the test's.
struct Stepped {
  explicit Stepped(std::int32_t n_blocks) {
    auto chain = std::make_unique<test::ChainRunner>(n_blocks, 48);
    runner = chain.get();
    engine.emplace(std::move(chain), test::chain_vocabulary(), ops::table("ref"));
  }

  Held add(const Tokens& tokens) {
    const Held held{.id = engine->open(), .tokens = tokens};
    engine->append(held.id, tokens, WorkClass::interactive);
    while (!engine->request_resident(held.id)) CHECK(engine->step(events));
    return held;
  }

  void evict(Held& held, std::int32_t begin, std::int32_t end) {
    engine->evict(held.id, begin, end);
    held.evict(begin, end);
  }

  Tokens generate(SequenceId id, std::int32_t n) {
    (void)engine->generate(id, params(n, WorkClass::interactive));
    Tokens drawn;
    do {
      CHECK(engine->step(events));
      for (const auto& event : events.tokens) drawn.push_back(event.token);
    } while (events.tokens.empty() || events.tokens.back().finish == FinishReason::none);
    return drawn;
  }

  test::ChainRunner* runner;
  std::optional<Engine> engine;
  engine::Events events;
};

const Tokens kTwenty{3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};

void test_a_hole_gives_its_blocks_back() {
  Stepped stepped(8);
  Engine& engine = *stepped.engine;
  Held held = stepped.add(kTwenty);
  const auto n_in_use = [&] { return engine.stats().n_blocks - engine.stats().n_blocks_free; };
  CHECK(n_in_use() == 5);
  stepped.evict(held, 3, 8);  // the index goes on to remember what was computed without a hole
  CHECK(n_in_use() == 5);
  const Held filler = stepped.add(Tokens(17, 1));  // four blocks: three were free, one is in the hole
  engine.check_integrity();
  CHECK(!engine.is_lost(held.id) && engine.n_cached(filler.id) == 16);
  stepped.evict(held, 3, 14);
  CHECK(engine.hole(held.id) == (kernels::Hole{3, 14}) && engine.n_tokens(held.id) == 20);
  engine.close(filler.id);
  const Held twin{.id = engine.fork(held.id), .tokens = held.tokens, .hole = held.hole, .old_kv = held.old_kv};
  const Tokens wanted = expected(held, 6, 48);
  CHECK(stepped.generate(twin.id, 6) == wanted);
  CHECK(stepped.generate(held.id, 6) == wanted);
  engine.check_integrity();
  CHECK(stepped.runner->spans_hold && engine.stats().sequences_lost == 0);
}

void test_what_a_hole_has_touched_is_not_lent() {
  Stepped stepped(64);
  Tokens tokens(kTwenty.begin(), kTwenty.begin() + 7);
  Held held = stepped.add(tokens);
  stepped.evict(held, 4, 5);  // in its last block
  CHECK(stepped.generate(held.id, 6) == expected(held, 6, 48));
  stepped.engine->truncate(held.id, 7);
  (void)stepped.generate(held.id, 1);  // its last token has KV now
  stepped.engine->close(held.id);
  tokens.push_back(1);
  CHECK(stepped.generate(stepped.add(tokens).id, 6) == expected(tokens, 6, 48));
  stepped.engine->check_integrity();
}

// The step that computes the last token began before the hole grew: its result is not taken.
void test_a_hole_grows_while_a_step_runs() {
  Stepped stepped(64);
  Engine& engine = *stepped.engine;
  Held held = stepped.add(kTwenty);
  stepped.evict(held, 2, 5);
  const GenerationId goes = engine.generate(held.id, params(9, WorkClass::interactive));
  stepped.runner->while_it_runs = [&] {
    engine.cancel(goes);
    stepped.evict(held, 2, 13);
  };
  CHECK(engine.step(stepped.events) && stepped.events.tokens.empty());
  stepped.runner->while_it_runs = {};
  CHECK(engine.n_cached(held.id) == 19);
  engine.append(held.id, Tokens{1}, WorkClass::interactive);
  held.tokens.push_back(1);
  CHECK(stepped.generate(held.id, 5) == expected(held, 5, 48));
  CHECK(engine.stats().dropped_results == 1);
}

void test_a_lost_sequence_says_so() {
  Stepped stepped(13);
  Engine& engine = *stepped.engine;
  const Held plain = stepped.add(Tokens(20, 2));
  Held held = stepped.add(kTwenty);
  stepped.evict(held, 4, 8);
  const GenerationId generation = engine.generate(held.id, params(9, WorkClass::background));
  const SequenceId big = engine.open();
  engine.append(big, Tokens(48, 1), WorkClass::interactive);
  bool ended = false;
  for (int i = 0; i < 9 && !ended; ++i) {
    CHECK(engine.step(stepped.events));
    for (const auto& event : stepped.events.tokens) {
      CHECK(event.generation == generation);
      ended = event.finish == FinishReason::lost && !event.error.empty();
      if (!ended) held.tokens.push_back(event.token);
    }
  }
  CHECK(ended && engine.is_lost(held.id) && engine.stats().sequences_lost == 1);
  CHECK(engine.n_cached(plain.id) == 0 && engine.stats().sequences_dropped == 1);  // it went first
  const auto is_lost = [&](auto&& verb) {
    try {
      verb();
    } catch (const base::Error& error) {
      return error.code() == base::ErrorCode::lost;
    }
    return false;
  };
  CHECK(is_lost([&] { engine.append(held.id, Tokens{1}, WorkClass::ingest); }));
  CHECK(is_lost([&] { (void)engine.generate(held.id, {}); }));
  CHECK(is_lost([&] { (void)engine.fork(held.id); }));
  CHECK(is_lost([&] { engine.evict(held.id, 4, 9); }));
  CHECK(is_lost([&] { (void)engine.request_resident(held.id); }));
  CHECK(is_lost([&] { engine.truncate(held.id, 12); }));
  CHECK(engine.tokens(held.id) == held.tokens);
  engine.check_integrity();
  engine.close(big);
  engine.truncate(held.id, 4);  // without its hole it is like all others
  held.truncate(4);
  CHECK(!engine.is_lost(held.id) && stepped.generate(held.id, 6) == expected(held, 6, 48));
}

void test_refusals() {
  Driver driver(16, 32);
  Engine& engine = *driver.engine;
  const auto code_of = [](auto&& verb) -> std::string {
    try {
      verb();
      return "none";
    } catch (const base::Error& error) {
      return std::to_string(static_cast<int>(error.code()));
    }
  };
  const auto is = [](base::ErrorCode code) { return std::to_string(static_cast<int>(code)); };
  const SequenceId id = engine.open();
  CHECK(code_of([&] { (void)engine.generate(id, {}); }) == is(base::ErrorCode::invalid_argument));
  CHECK(code_of([&] { engine.append(id, Tokens{test::kVocab}, WorkClass::ingest); }) ==
        is(base::ErrorCode::invalid_argument));
  CHECK(code_of([&] { engine.append(id, Tokens{-1}, WorkClass::ingest); }) == is(base::ErrorCode::invalid_argument));
  CHECK(code_of([&] { engine.append(id, Tokens(33, 1), WorkClass::ingest); }) == is(base::ErrorCode::context_overflow));
  CHECK(engine.n_tokens(id) == 0);
  CHECK(code_of([&] { engine.truncate(id, 1); }) == is(base::ErrorCode::invalid_argument));
  engine.append(id, Tokens(32, 1), WorkClass::ingest);
  CHECK(driver.wait_resident(id));
  for (const auto& [begin, end] : {std::pair{-1, 4}, {4, 4}, {5, 4}, {4, 32}}) {
    CHECK(code_of([&] { engine.evict(id, begin, end); }) == is(base::ErrorCode::invalid_argument));
  }
  engine.evict(id, 4, 9);
  for (const auto& [begin, end] : {std::pair{3, 9}, {5, 10}, {9, 12}, {4, 8}}) {
    CHECK(code_of([&] { engine.evict(id, begin, end); }) == is(base::ErrorCode::invalid_argument));
  }
  for (const std::int32_t n : {5, 9}) {
    CHECK(code_of([&] { engine.truncate(id, n); }) == is(base::ErrorCode::invalid_argument));
  }
  engine.truncate(id, 10);
  engine.append(id, Tokens(22, 1), WorkClass::ingest);
  CHECK(code_of([&] { (void)engine.generate(id, {}); }) == is(base::ErrorCode::context_overflow));
  engine.close(id);
  CHECK(code_of([&] { engine.close(id); }) == is(base::ErrorCode::not_found));
  CHECK(code_of([&] { (void)engine.fork(id); }) == is(base::ErrorCode::not_found));
}

}  // namespace

int main(int argc, char** argv) {
  const int n_programs = argc > 1 ? std::atoi(argv[1]) : 1000;
  std::uint64_t n_accepted = 0;
  std::size_t n_evicted = 0, n_lost = 0;
  for (int i = 0; i < n_programs; ++i) {
    // A pool that holds everything, one that holds a few sequences, and the least there can be.
    const std::int32_t n_blocks = i % 3 == 0 ? 128 : i % 3 == 1 ? 24 : 13;
    Program program(static_cast<std::uint64_t>(i), n_blocks);
    program.run(40);
    n_accepted += program.n_accepted;
    n_evicted += program.n_evicted;
    n_lost += program.n_lost;
  }
  CHECK(n_accepted > 0 && n_evicted > static_cast<std::size_t>(n_programs) && n_lost > 0, "%zu evicted, %zu lost",
        n_evicted, n_lost);
  test_cancels(1000);
  test_generating_again_right_after_a_cancel(2000);
  test_usage_counts_what_was_computed();
  test_holds();
  test_waits_for_masks();
  test_guided_behind_reasoning();
  test_a_closed_sequence_is_continued();
  test_a_hole_gives_its_blocks_back();
  test_what_a_hole_has_touched_is_not_lent();
  test_a_hole_grows_while_a_step_runs();
  test_a_lost_sequence_says_so();
  test_refusals();
  return test::failures();
}
