// Many sessions on one engine, counted in steps and tokens: nobody waits for more than a turn of each of the others, and
// no class takes everything.

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "check.h"
#include "engine/chain_runner.h"
#include "engine/engine.h"

namespace {

using namespace kvtape;
using engine::GenerationId;
using engine::SequenceId;
using engine::WorkClass;
using Tokens = std::vector<std::int32_t>;

constexpr int kSessions = 64;
constexpr std::int32_t kCtx = 6000;

// An engine that is stepped by hand, so that a test counts steps. Between two of them everybody who is waiting is told.
class Clockwork {
 public:
  explicit Clockwork(std::int32_t n_blocks = kSessions * kCtx / test::kBlock)
      : engine(std::make_unique<test::ChainRunner>(n_blocks, kCtx), test::chain_vocabulary(), ops::table("ref")) {}

  // Calls `then` with the number of steps after which all tokens are resident.
  void when_resident(SequenceId id, std::function<void(int)> then) {
    if (engine.request_resident(id)) return then(0);
    resident_[id] = {n_steps, std::move(then)};
  }

  // Its own kind of tokens, so that nothing is found in the cache.
  void append(SequenceId id, std::int32_t n, WorkClass work = WorkClass::ingest) {
    Tokens tokens(static_cast<std::size_t>(n));
    for (auto& token : tokens)
      token = 1 + static_cast<std::int32_t>(test::chain(id, n_appended_++) % (test::kVocab - 1));
    engine.append(id, tokens, work);
  }

  SequenceId open(std::int32_t n, WorkClass work = WorkClass::ingest) {
    const SequenceId id = engine.open();
    append(id, n, work);
    return id;
  }

  // A session that has work at any time: pieces of n tokens, the next as soon as the last is resident.
  SequenceId push_for_ever(std::int32_t n, std::vector<int>* waits = nullptr) {
    const SequenceId id = engine.open();
    push_again(id, n, waits);
    return id;
  }

  GenerationId generate(SequenceId id, std::int32_t n, WorkClass work) {
    engine::GenerationParams params;
    params.work = work;
    params.max_tokens = n;
    params.ignore_eos = true;
    params.speculate = false;
    return engine.generate(id, params);
  }

  void step() {
    CHECK(engine.step(events_));
    ++n_steps;
    for (const auto& event : events_.tokens) ++n_drawn[event.generation];
    for (const SequenceId id : events_.resident) {
      auto waiting = resident_.extract(id);
      if (!waiting.empty()) waiting.mapped().second(n_steps - waiting.mapped().first);
    }
  }

  template <class Condition>
  int steps_until(Condition&& condition, int most = 20'000) {
    const int begin = n_steps;
    while (!condition() && n_steps - begin < most) step();
    CHECK(condition(), "not so after %d steps", most);
    return n_steps - begin;
  }

  engine::Engine engine;
  int n_steps = 0;
  std::map<GenerationId, int> n_drawn;
  std::map<SequenceId, std::int64_t> n_served;  // tokens of push_for_ever() that are resident

 private:
  void push_again(SequenceId id, std::int32_t n, std::vector<int>* waits) {
    if (engine.n_tokens(id) + n > kCtx) engine.truncate(id, 1);
    append(id, n);
    when_resident(id, [this, id, n, waits](int waited) {
      if (waits != nullptr) waits->push_back(waited);
      n_served[id] += n;
      push_again(id, n, waits);
    });
  }

  engine::Events events_;
  std::int32_t n_appended_ = 0;
  std::map<SequenceId, std::pair<int, std::function<void(int)>>> resident_;
};

int steps_for(std::int64_t n_tokens, std::int32_t a_step) { return static_cast<int>((n_tokens + a_step - 1) / a_step); }

void test_a_small_push_waits_for_one_turn_of_each() {
  Clockwork clockwork;
  for (int i = 0; i < kSessions / 2; ++i) (void)clockwork.push_for_ever(3000);
  std::vector<int> waits;
  for (int i = 0; i < kSessions / 2; ++i) (void)clockwork.push_for_ever(17, &waits);
  while (clockwork.n_steps < 2000) clockwork.step();
  const std::int64_t queued = kSessions / 2 * (engine::kTurnTokens + 17);
  const int worst = std::ranges::max(waits);
  CHECK(worst <= steps_for(queued, engine::kStepTokens) + 2, "%d", worst);
  CHECK(std::ssize(waits) >= kSessions / 2 * (2000 / (worst + 1)));
}

void test_sessions_without_end_get_the_same() {
  for (const bool while_one_chats : {false, true}) {
    Clockwork clockwork;
    std::vector<SequenceId> ids;
    for (int i = 0; i < kSessions; ++i) ids.push_back(clockwork.open(kCtx - 1));
    const auto least_and_most = [&] {
      std::vector<std::int32_t> n;
      for (const SequenceId id : ids) n.push_back(clockwork.engine.n_cached(id));
      return std::ranges::minmax(n);
    };
    if (while_one_chats)
      (void)clockwork.generate(clockwork.open(20, WorkClass::interactive), 5000, WorkClass::interactive);
    const int n_steps = while_one_chats ? 4500 : 600;
    while (clockwork.n_steps < n_steps) clockwork.step();
    const auto [least, most] = least_and_most();
    const std::int64_t even =
        std::int64_t{n_steps} * (while_one_chats ? engine::kOthersBesideInteractive : engine::kStepTokens) / kSessions;
    CHECK(least >= even - engine::kTurnTokens && most <= even + 2 * engine::kTurnTokens, "%d %d", least, most);
    CHECK(most - least < 2 * engine::kTurnTokens, "%d %d", least, most);
  }
}

// Who appends more before the last is resident neither loses its place nor keeps it.
void test_appending_without_waiting() {
  Clockwork clockwork;
  const SequenceId eager = clockwork.open(2);
  for (int i = 1; i < kSessions; ++i) (void)clockwork.push_for_ever(40);
  std::int32_t n = 0;
  for (int i = 0; i < 300; ++i) {
    clockwork.append(eager, 17);
    clockwork.step();
  }
  n = clockwork.engine.n_cached(eager);
  const std::int32_t even = 300 * engine::kStepTokens / kSessions;
  CHECK(n > even / 2, "%d of %d", n, even);
  for (const auto& [id, served] : clockwork.n_served)
    CHECK(served > even / 2, "%d of %d", static_cast<int>(served), even);
}

void test_foreground_goes_first() {
  Clockwork clockwork;
  for (int i = 0; i < kSessions; ++i) {
    (void)clockwork.push_for_ever(200);
    (void)clockwork.generate(clockwork.open(30, WorkClass::flash), 500, WorkClass::flash);
  }
  for (int i = 0; i < 50; ++i) clockwork.step();
  const GenerationId answer =
      clockwork.generate(clockwork.open(200, WorkClass::interactive), 20, WorkClass::interactive);
  CHECK(clockwork.steps_until([&] { return clockwork.n_drawn[answer] == 1; }) == 1);
  CHECK(clockwork.steps_until([&] { return clockwork.n_drawn[answer] == 20; }) == 19);
}

// 64 sessions push without end; one has four flash queries and appends between them and after them, and a chat goes on or not.
void test_a_flash_evaluation_ends_for_its_version() {
  for (const bool while_one_chats : {false, true}) {
    Clockwork clockwork;
    const SequenceId data = clockwork.open(400);
    (void)clockwork.steps_until([&] { return clockwork.engine.n_cached(data) == 399; });
    for (int i = 1; i < kSessions; ++i) (void)clockwork.push_for_ever(200);
    if (while_one_chats)
      (void)clockwork.generate(clockwork.open(20, WorkClass::interactive), 5000, WorkClass::interactive);
    for (int i = 0; i < 20; ++i) clockwork.step();
    constexpr std::int32_t kQueries = 4, kQuestion = 20, kAnswer = 8;
    std::vector<GenerationId> answers;
    for (int i = 0; i < kQueries; ++i) {
      const SequenceId branch = clockwork.engine.fork(data);
      clockwork.append(branch, kQuestion, WorkClass::flash);
      answers.push_back(clockwork.generate(branch, kAnswer, WorkClass::flash));
    }
    clockwork.append(data, 17);  // the next version, before this one is evaluated
    const int n = clockwork.steps_until(
        [&] { return std::ranges::all_of(answers, [&](auto id) { return clockwork.n_drawn[id] == kAnswer; }); });
    const std::int32_t half = (while_one_chats ? engine::kOthersBesideInteractive : engine::kStepTokens) / 2;
    CHECK(n <= steps_for(kQueries * (kQuestion + kAnswer), half) + kAnswer + 2, "%d", n);
  }
}

// What a windowed session is rebuilt with: pieces of 256 tokens, each when the one before is resident.
void test_a_rebuild_in_pieces_gets_on() {
  for (const bool while_one_chats : {false, true}) {
    Clockwork clockwork;
    for (int i = 1; i < kSessions; ++i) {
      (void)clockwork.push_for_ever(68);  // four rows
      (void)clockwork.generate(clockwork.open(30, WorkClass::flash), 5000, WorkClass::flash);
    }
    if (while_one_chats)
      (void)clockwork.generate(clockwork.open(20, WorkClass::interactive), 5900, WorkClass::interactive);
    for (int i = 0; i < 20; ++i) clockwork.step();
    constexpr int kPieces = 3;
    const SequenceId fresh = clockwork.engine.open();
    int n_pieces = 0, worst = 0;
    std::function<void(int)> next = [&](int waited) {
      worst = std::max(worst, waited);
      if (n_pieces++ < kPieces) {
        clockwork.append(fresh, 256);
        clockwork.when_resident(fresh, next);
      }
    };
    next(0);
    (void)clockwork.steps_until([&] { return n_pieces > kPieces; });
    const std::int32_t half = (while_one_chats ? engine::kOthersBesideInteractive : engine::kStepTokens) / 2;
    const int bound = steps_for((kSessions - 1) * 68 + 256, half) + 2;
    CHECK(worst <= bound && worst > bound / 2, "%d of %d", worst, bound);
  }
}

void test_background_gets_on_beside_all_others() {
  Clockwork clockwork;
  for (int i = 0; i < kSessions; ++i) {
    (void)clockwork.push_for_ever(200);
    (void)clockwork.generate(clockwork.open(1000, WorkClass::flash), 4000, WorkClass::flash);
  }
  const SequenceId background = clockwork.open(kCtx - 1, WorkClass::background);
  for (int i = 0; i < 100; ++i) clockwork.step();
  const std::int32_t share = engine::kStepTokens / engine::kOthersPerBackground;
  CHECK(clockwork.engine.n_cached(background) == 100 * share, "%d", clockwork.engine.n_cached(background));
  for (int i = 0; i < 300; ++i) {  // more foreground decodes than a step holds
    (void)clockwork.generate(clockwork.open(2, WorkClass::interactive), 1000, WorkClass::interactive);
  }
  for (int i = 0; i < 40; ++i) clockwork.step();
  const std::int32_t before = clockwork.engine.n_cached(background);
  for (int i = 0; i < 100; ++i) clockwork.step();
  CHECK(clockwork.engine.n_cached(background) == before + 100, "%d", clockwork.engine.n_cached(background) - before);
}

// More decodes than a step may hold take turns.
void test_decodes_take_turns() {
  Clockwork clockwork;
  std::vector<GenerationId> answers;
  for (int i = 0; i < 300; ++i) {
    answers.push_back(clockwork.generate(clockwork.open(1, WorkClass::interactive), 2000, WorkClass::interactive));
  }
  while (clockwork.n_steps < 1000) clockwork.step();
  const auto [least, most] = std::ranges::minmax(answers, {}, [&](auto id) { return clockwork.n_drawn[id]; });
  const int n_least = clockwork.n_drawn[least], n_most = clockwork.n_drawn[most];
  CHECK(n_least > 0 && n_most - n_least <= 2 * engine::kTurnTokens, "%d %d", n_least, n_most);
}

// 256 sessions of 200 tokens in the memory of 40; all of them push three times, and all are asked at once. What is computed
// again is less than if nothing were remembered from one to the next.
void test_more_work_than_memory() {
  constexpr std::int32_t kMany = 256, kOpening = 150, kRow = 17, kPushes = 3, kAnswer = 60;
  Clockwork clockwork(40 * 200 / test::kBlock);
  int n_left = kMany * (kPushes + 1), n_asked = 0;
  std::int64_t n_needed = 0;
  std::vector<SequenceId> ids;
  std::function<void(SequenceId, std::int32_t)> push = [&](SequenceId id, std::int32_t n) {
    clockwork.append(id, n);
    n_needed += clockwork.engine.n_tokens(id);
    clockwork.when_resident(id, [&, id](int) {
      --n_left;
      if (clockwork.engine.n_tokens(id) < kOpening + kPushes * kRow) push(id, kRow);
    });
  };
  for (std::int32_t i = 0; i < kMany; ++i) push(ids.emplace_back(clockwork.engine.open()), kOpening);
  std::vector<GenerationId> answers;
  const auto ask = [&](SequenceId id, WorkClass work) {
    const SequenceId branch = clockwork.engine.fork(id);
    clockwork.append(branch, 9, work);
    n_needed += clockwork.engine.n_tokens(branch) + kAnswer;
    answers.push_back(clockwork.generate(branch, kAnswer, work));
  };
  (void)clockwork.steps_until([&] { return n_left <= kMany * kPushes / 2; });
  for (const SequenceId id : ids) ask(id, n_asked++ % 2 == 0 ? WorkClass::interactive : WorkClass::flash);
  (void)clockwork.steps_until([&] {
    return n_left == 0 && std::ranges::all_of(answers, [&](auto id) { return clockwork.n_drawn[id] == kAnswer; });
  });
  clockwork.engine.check_integrity();
  const auto stats = clockwork.engine.stats();
  CHECK(stats.preemptions > 50 && stats.sequences_dropped > kMany);
  const auto n_run = static_cast<std::int64_t>(stats.computed_tokens + stats.recomputed_tokens);
  CHECK(n_run < n_needed, "%d of %d", static_cast<int>(n_run), static_cast<int>(n_needed));
}

}  // namespace

int main() {
  test_a_small_push_waits_for_one_turn_of_each();
  test_sessions_without_end_get_the_same();
  test_appending_without_waiting();
  test_foreground_goes_first();
  test_a_flash_evaluation_ends_for_its_version();
  test_a_rebuild_in_pieces_gets_on();
  test_background_gets_on_beside_all_others();
  test_decodes_take_turns();
  test_more_work_than_memory();
  return test::failures();
}
