#pragma once
// The two indices of a ring between one producer and one consumer, and the only place where the two sides meet.
//
// Indices count upwards for ever (2^64 slots are never used up); the slot is index & mask. What lies in [head, tail) is in
// the ring. The producer owns tail, the consumer owns head; with `drop_oldest` the producer may move head too, so there
// head moves by compare-and-swap from both sides. Each side keeps a copy of the other's index and asks again only when
// the copy says full or empty, and each side writes to a cache line (and its neighbour, which is fetched with it) of its own.
//
//   (A) producer's publish() pairs with the consumer's refresh_tail(): what was written into the slots is seen.
//   (B) consumer's take() pairs with the producer's refresh_head() and evict_to(): what was read out of the slots was read
//       before the producer writes there again.

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ring/wait.h"

namespace kvtape::ring {

// What happens when the ring is full.
enum class Overflow {
  drop_newest,  // refuse at the producer
  drop_oldest,  // take the newest and drop from the other end
};

// Always exact once both sides are quiet: pushed = popped + dropped + in the ring, and offered = pushed + refused.
struct Counters {
  std::uint64_t pushed;   // entered the ring
  std::uint64_t popped;   // reached the consumer
  std::uint64_t dropped;  // entered, and were overwritten before the consumer came (drop_oldest)
  std::uint64_t refused;  // were offered and never entered (drop_newest)
};

// Both ends of each pair. tests/native/ring weakens them one by one and expects ThreadSanitizer to object.
struct Orders {
  static constexpr auto publish = std::memory_order_release;  // (A)
  static constexpr auto observe = std::memory_order_acquire;  // (A)
  static constexpr auto vacate = std::memory_order_release;   // (B)
  static constexpr auto reuse = std::memory_order_acquire;    // (B)
};

template <class Order = Orders>
class Indices {
 public:
  // ---- producer ------------------------------------------------------------------------------------------------------
  [[nodiscard]] std::uint64_t tail() const noexcept { return tail_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t known_head() const noexcept { return head_copy_; }
  std::uint64_t refresh_head() noexcept { return head_copy_ = head_.load(Order::reuse); }  // pairs with (B)

  void publish(std::uint64_t tail, std::uint64_t n_records) noexcept {
    pushed_.store(pushed_.load(std::memory_order_relaxed) + n_records, std::memory_order_relaxed);
    tail_.store(tail, Order::publish);  // (A) publishes the slots below
  }

  // Moves head from known_head() to `head`, which drops n_records; false where the consumer was faster, and then
  // known_head() is up to date.
  bool evict_to(std::uint64_t head, std::uint64_t n_records) noexcept {
    if (!head_.compare_exchange_strong(head_copy_, head, Order::reuse, Order::reuse)) return false;  // pairs with (B)
    head_copy_ = head;
    dropped_.store(dropped_.load(std::memory_order_relaxed) + n_records, std::memory_order_relaxed);
    return true;
  }

  void refuse(std::uint64_t n_records) noexcept {
    refused_.store(refused_.load(std::memory_order_relaxed) + n_records, std::memory_order_relaxed);
  }

  // ---- consumer ------------------------------------------------------------------------------------------------------
  [[nodiscard]] std::uint64_t head() const noexcept { return head_.load(std::memory_order_relaxed); }
  std::uint64_t refresh_tail() noexcept { return tail_copy_ = tail_.load(Order::observe); }  // pairs with (A)

  // Slots from `head` that hold something; looks at the producer's index only where fewer than `n_wanted` are known. A head
  // that the producer moved may be ahead of the tail seen here; then what lies behind it has not arrived yet.
  [[nodiscard]] std::uint64_t available(std::uint64_t head, std::uint64_t n_wanted) noexcept {
    if (tail_copy_ < head + n_wanted) {
      if (gained_few_) breathe();
      const std::uint64_t before = tail_copy_;
      const std::uint64_t gained = refresh_tail() - before;
      gained_few_ = gained > 0 && gained < kFew;
    }
    return tail_copy_ > head ? tail_copy_ - head : 0;
  }

  // Takes [head, new_head) out of the ring. On false (drop_oldest only) the producer was there first: `head` is now where
  // it moved head to, and what was copied from below that is not to be used.
  bool take(std::uint64_t& head, std::uint64_t new_head, std::uint64_t n_records, Overflow overflow) noexcept {
    if (overflow == Overflow::drop_newest) {
      head_.store(new_head, Order::vacate);  // (B) the slots are read, the producer may have them
    } else if (!head_.compare_exchange_strong(head, new_head, Order::vacate, std::memory_order_relaxed)) {  // (B)
      return false;
    }
    popped_.store(popped_.load(std::memory_order_relaxed) + n_records, std::memory_order_relaxed);
    return true;
  }

  // ---- any thread ----------------------------------------------------------------------------------------------------
  // Slots in use at some moment during the call; exact for the side that asks when the other is quiet.
  [[nodiscard]] std::uint64_t size() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    return tail > head ? tail - head : 0;
  }

  [[nodiscard]] Counters counters() const noexcept {
    return {.pushed = pushed_.load(std::memory_order_relaxed),
            .popped = popped_.load(std::memory_order_relaxed),
            .dropped = dropped_.load(std::memory_order_relaxed),
            .refused = refused_.load(std::memory_order_relaxed)};
  }

 private:
  static constexpr std::size_t kLine = 128;  // two cache lines: the prefetcher fetches pairs
  static constexpr std::uint64_t kFew = 64;

  // A consumer that is as fast as its producer asks for tail after each item; that the travel of tail's cache line is what an
  // item then costs is our guess. Measured (bench/ring, two cores of a Zen 4 machine, rows one by one): queues that ask each
  // time move 14 to 15 M rows a second, and ours did no better; with this wait, which takes 0.4 us there, it moves 23 M. The
  // wait is before the look that follows a look which gave few: an item that comes alone has gone by then, and one that
  // comes right after it is late by the wait at most. An empty ring waits once, then no more.
  static void breathe() noexcept {
    for (int i = 0; i < 16; ++i) cpu_relax();
  }

  alignas(kLine) std::atomic<std::uint64_t> tail_{0};  // written by the producer
  std::uint64_t head_copy_ = 0;
  std::atomic<std::uint64_t> pushed_{0}, dropped_{0}, refused_{0};

  alignas(kLine) std::atomic<std::uint64_t> head_{0};  // written by the consumer, and by a producer that drops
  std::uint64_t tail_copy_ = 0;
  bool gained_few_ = false;
  std::atomic<std::uint64_t> popped_{0};
};

}  // namespace kvtape::ring
