#include "ring/wait.h"

#include <atomic>
#include <thread>

#include "ring/ring_test.h"

namespace kvtape::ring {
namespace {

// Two threads take turns, each waiting at its own bell: a wake-up that got lost would stop them for ever.
void takes_turns(Wait policy, int n_turns) {
  Doorbell ping, pong;
  std::atomic<int> turn{0};
  std::thread other([&] {
    for (int i = 0; i < n_turns; ++i) {
      ping.wait(policy, [&] { return turn.load() == 2 * i + 1; });
      turn.store(2 * i + 2);
      pong.ring();
    }
  });
  for (int i = 0; i < n_turns; ++i) {
    turn.store(2 * i + 1);
    ping.ring();
    pong.wait(policy, [&] { return turn.load() == 2 * i + 2; });
  }
  other.join();
  CHECK(turn.load() == 2 * n_turns);
}

void returns_at_once_when_ready() {
  Doorbell bell;
  int n_looks = 0;
  for (const Wait policy : {Wait::spin, Wait::yield, Wait::park}) bell.wait(policy, [&] { return ++n_looks > 0; });
  CHECK(n_looks == 3);
}

// A ring that changes nothing must not let the sleeper go.
void a_false_ring_wakes_nobody_for_good() {
  Doorbell bell;
  std::atomic<bool> ready{false}, left{false};
  std::atomic<int> n_looks{0};
  std::thread sleeper([&] {
    bell.wait(Wait::park, [&] { return ++n_looks, ready.load(); });
    left.store(true);
  });
  while (n_looks.load() < 65) std::this_thread::yield();  // past its spins
  for (int i = 0; i < 100; ++i) bell.ring();
  CHECK(!left.load());
  ready.store(true);
  bell.ring();
  sleeper.join();
  CHECK(left.load());
}

}  // namespace
}  // namespace kvtape::ring

int main() {
  using namespace kvtape::ring;
  returns_at_once_when_ready();
  a_false_ring_wakes_nobody_for_good();
  takes_turns(Wait::spin, 200);
  takes_turns(Wait::yield, 2000);
  takes_turns(Wait::park, 20'000);
  return 0;
}
