#pragma once
// What the tests of both rings share: a check that prints, the weakened orders, and the handshake that TSan watches.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "ring/indices.h"

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

namespace kvtape::ring {

#if defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t kManyItems = 300'000;
#else
inline constexpr std::uint64_t kManyItems = 10'000'000;
#endif

// One end of one pair made relaxed.
struct WeakPublish : Orders {
  static constexpr auto publish = std::memory_order_relaxed;
};
struct WeakObserve : Orders {
  static constexpr auto observe = std::memory_order_relaxed;
};
struct WeakVacate : Orders {
  static constexpr auto vacate = std::memory_order_relaxed;
};
struct WeakReuse : Orders {
  static constexpr auto reuse = std::memory_order_relaxed;
};

inline bool balanced(const Counters& counters, std::uint64_t in_ring) {
  return counters.pushed == counters.popped + counters.dropped + in_ring;
}

// Passes plain memory from side to side, with nothing but the ring to order the accesses: `letters` is written before a
// push and read after the pop (A), `receipts` is written before a pop and read after the producer has seen the slot come
// back (B). Correct under Orders; a data race, and reported as such, when any one end is weakened.
//   Channel: push(k), pop(k), n_free() in items, capacity() in items, counters()
template <class Channel>
void handshake(Channel&& channel) {
  constexpr std::uint64_t kItems = 20'000;
  std::vector<std::uint64_t> letters(kItems), receipts(kItems + 1);
  std::atomic<bool> done{false};

  std::thread consumer([&] {
    for (std::uint64_t n_popped = 0;;) {
      const bool last_look = done.load(std::memory_order_acquire);
      receipts[n_popped] = 3 * n_popped;
      std::uint64_t k = 0;
      if (channel.pop(k)) {
        CHECK(letters[k] == 7 * k);
        ++n_popped;
      } else if (last_look) {
        return;
      } else {
        std::this_thread::yield();
      }
    }
  });

  std::uint64_t n_read = 0;
  for (std::uint64_t k = 0; k < kItems; ++k) {
    letters[k] = 7 * k;
    while (!channel.push(k)) std::this_thread::yield();
    while (k % 256 == 0 && channel.n_free() < channel.capacity())
      std::this_thread::yield();  // let the consumer catch up
    const std::uint64_t in_ring = channel.capacity() - channel.n_free();
    const std::uint64_t n_returned = k + 1 - in_ring - channel.counters().dropped;
    for (; n_read < n_returned; ++n_read) CHECK(receipts[n_read] == 3 * n_read);
  }
  done.store(true, std::memory_order_release);
  consumer.join();
  CHECK(n_read > 0);
  CHECK(balanced(channel.counters(), 0));
}

// Runs Test<Order>::run(overflow) with the order and policy named on the command line: weak <order> <policy>.
template <template <class> class Test>
int run_weak(std::string_view order, std::string_view policy) {
  const Overflow overflow = policy == "drop_oldest" ? Overflow::drop_oldest : Overflow::drop_newest;
  if (order == "publish")
    Test<WeakPublish>::run(overflow);
  else if (order == "observe")
    Test<WeakObserve>::run(overflow);
  else if (order == "vacate")
    Test<WeakVacate>::run(overflow);
  else if (order == "reuse")
    Test<WeakReuse>::run(overflow);
  else
    CHECK(!"weak publish|observe|vacate|reuse drop_newest|drop_oldest");
  return 0;
}

}  // namespace kvtape::ring
