// test_spsc_ring                          all tests, 10^7 items through each policy
// test_spsc_ring items 100000000          the slow run
// test_spsc_ring weak <order> <policy>    a weakened order, for TSan to find

#include "ring/spsc_ring.h"

#include <array>
#include <string>

#include "base/error.h"
#include "ring/ring_test.h"
#include "ring/wait.h"

namespace kvtape::ring {
namespace {

using Item = std::array<std::uint64_t, 3>;  // k and two functions of it: a torn copy cannot pass

Item item(std::uint64_t k) { return {k, k * 0x9E3779B97F4A7C15u, ~k}; }

template <class T>
std::span<const std::byte> bytes(const T& value, std::size_t n_items = 1) {
  return std::as_bytes(std::span(value)).first(n_items * sizeof(value[0]));
}

template <class Order>
struct Handshake {
  BasicSpscRing<Order> ring;
  explicit Handshake(Overflow overflow) : ring(16, 8, overflow) {}
  bool push(std::uint64_t k) { return ring.try_push(std::as_bytes(std::span(&k, 1))) == 1; }
  bool pop(std::uint64_t& k) { return ring.try_pop(std::as_writable_bytes(std::span(&k, 1))) == 1; }
  std::uint64_t n_free() { return ring.room(); }
  std::uint64_t capacity() const { return ring.capacity(); }
  Counters counters() const { return ring.counters(); }
  static void run(Overflow overflow) { handshake(Handshake(overflow)); }
};

// Batches of changing size; the consumer sees every item once and in order (drop_newest) or an ordered subset that ends
// with the last item (drop_oldest), never torn, and the counters add up.
void many_items(Overflow overflow, std::uint64_t n_items, Wait policy) {
  SpscRing ring(1024, sizeof(Item), overflow);
  Doorbell not_empty, not_full;
  std::atomic<bool> done{false};
  std::uint64_t n_popped = 0, expected = 0;

  std::thread consumer([&] {
    std::array<Item, 61> batch;
    for (std::uint64_t round = 0; expected < n_items; ++round) {
      std::size_t n = 0;
      const auto wanted = std::as_writable_bytes(std::span(batch).first(1 + round % batch.size()));
      not_empty.wait(policy, [&] { return (n = ring.try_pop(wanted)) > 0; });
      not_full.ring();
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint64_t k = batch[i][0];
        CHECK(batch[i] == item(k));
        CHECK(overflow == Overflow::drop_newest ? k == expected : k >= expected);
        expected = k + 1;
      }
      n_popped += n;
    }
  });

  std::array<Item, 47> batch;
  std::uint64_t next = 0;
  for (std::uint64_t round = 0; next < n_items; ++round) {
    const std::size_t n = std::min<std::uint64_t>(1 + round % batch.size(), n_items - next);
    for (std::size_t i = 0; i < n; ++i) batch[i] = item(next + i);
    for (std::size_t taken = 0; taken < n;) {
      taken += ring.try_push(bytes(batch, n).subspan(taken * sizeof(Item)));
      not_empty.ring();
      if (taken < n) not_full.wait(policy, [&] { return ring.room() > 0; });
    }
    next += n;
  }
  consumer.join();

  const Counters counters = ring.counters();
  CHECK(counters.pushed == n_items);
  CHECK(counters.popped == n_popped);
  CHECK(balanced(counters, ring.size()));
  CHECK(ring.size() == 0);
  CHECK(overflow == Overflow::drop_newest ? counters.dropped == 0 : counters.refused == 0);
}

void single_thread() {
  for (const std::size_t item_bytes : {1, 7, 8, 9, 24, 56}) {  // each side of a word
    SpscRing ring(4, item_bytes);
    std::vector<std::byte> in(6 * item_bytes), out(6 * item_bytes);
    for (int lap = 0; lap < 5; ++lap) {
      for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i + 31 * lap);
      CHECK(ring.try_push(in) == 4);
      CHECK(ring.size() == 4 && ring.room() == 0);
      CHECK(ring.try_pop(std::span(out).first(3 * item_bytes)) == 3);
      CHECK(ring.try_push(std::span(in).subspan(4 * item_bytes)) == 2);  // over the end
      CHECK(ring.try_pop(std::span(out).subspan(3 * item_bytes)) == 3);
      CHECK(in == out);
      CHECK(ring.try_pop(out) == 0);
    }
    CHECK(ring.counters().refused == 5 * 2);
    CHECK(balanced(ring.counters(), 0));
  }
}

void drops_oldest() {
  SpscRing ring(4, 8, Overflow::drop_oldest);
  std::array<std::uint64_t, 11> in{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  std::array<std::uint64_t, 4> out{};
  CHECK(ring.try_push(bytes(in, 3)) == 3);
  CHECK(ring.try_push(bytes(in, 11).subspan(3 * 8)) == 8);  // twice the capacity in one call
  CHECK(ring.size() == 4);
  CHECK(ring.try_pop(std::as_writable_bytes(std::span(out))) == 4);
  CHECK((out == std::array<std::uint64_t, 4>{7, 8, 9, 10}));
  CHECK(ring.counters().dropped == 7 && ring.counters().pushed == 11 && ring.counters().refused == 0);
}

void refuses_bad_sizes() {
  const std::size_t bad[][2] = {{0, 8}, {3, 8}, {8, 0}, {std::size_t{1} << 63, 8}, {8, ~std::size_t{0}}};
  for (const auto& [capacity, item_bytes] : bad) {
    bool refused = false;
    try {
      SpscRing ring(capacity, item_bytes);
    } catch (const base::Error& error) {
      refused = error.code() == base::ErrorCode::invalid_argument;
    }
    CHECK(refused);
  }
}

}  // namespace
}  // namespace kvtape::ring

int main(int argc, char** argv) {
  using namespace kvtape::ring;
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "weak" && argc == 4) return run_weak<Handshake>(argv[2], argv[3]);
  const std::uint64_t n_items = mode == "items" && argc == 3 ? std::stoull(argv[2]) : kManyItems;

  single_thread();
  drops_oldest();
  refuses_bad_sizes();
  for (const Overflow overflow : {Overflow::drop_newest, Overflow::drop_oldest}) {
    Handshake<Orders>::run(overflow);
    many_items(overflow, n_items, Wait::yield);
    many_items(overflow, n_items / 10, Wait::park);
    many_items(overflow, n_items / 100, Wait::spin);
  }
  return 0;
}
