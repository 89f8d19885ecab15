// test_byte_ring                          all tests
// test_byte_ring items 100000000          the slow run
// test_byte_ring weak <order> <policy>    a weakened order, for TSan to find

#include "ring/byte_ring.cpp"  // the template's members: the weakened orders are instantiated here and nowhere else

#include <array>

#include "ring/ring_test.h"

namespace kvtape::ring {
namespace {

template <class Order>
struct Handshake {
  static constexpr std::size_t kRecordBytes = 16;  // a length and a number
  BasicByteRing<Order> ring;
  explicit Handshake(Overflow overflow) : ring(16 * kRecordBytes, overflow) {}
  bool push(std::uint64_t k) { return ring.try_push(std::as_bytes(std::span(&k, 1))); }
  bool pop(std::uint64_t& k) {
    std::vector<std::byte> record;
    if (!ring.try_pop(record)) return false;
    CHECK(record.size() == sizeof k);
    std::memcpy(&k, record.data(), sizeof k);
    return true;
  }
  std::uint64_t n_free() { return ring.room_bytes() / kRecordBytes; }
  std::uint64_t capacity() const { return ring.capacity_bytes() / kRecordBytes; }
  Counters counters() const { return ring.counters(); }
  static void run(Overflow overflow) { handshake(Handshake(overflow)); }
};

// Record k: its number, then up to 40 bytes that follow from it.
std::span<const std::byte> record(std::uint64_t k, std::array<std::byte, 48>& storage) {
  std::memcpy(storage.data(), &k, sizeof k);
  const std::size_t length = sizeof k + k * 2654435761u % 41;
  for (std::size_t i = sizeof k; i < length; ++i) storage[i] = static_cast<std::byte>(k + i);
  return std::span(storage).first(length);
}

void many_records(Overflow overflow, std::uint64_t n_items) {
  BasicByteRing<Orders> ring(4096, overflow);
  std::uint64_t n_popped = 0;
  std::thread consumer([&] {
    std::vector<std::byte> found;
    std::array<std::byte, 48> storage;
    for (std::uint64_t expected = 0; expected < n_items;) {
      if (!ring.try_pop(found)) {
        std::this_thread::yield();
        continue;
      }
      ++n_popped;
      std::uint64_t k = 0;
      CHECK(found.size() >= sizeof k);
      std::memcpy(&k, found.data(), sizeof k);
      CHECK(overflow == Overflow::drop_newest ? k == expected : k >= expected);
      const auto wanted = record(k, storage);
      CHECK(std::equal(found.begin(), found.end(), wanted.begin(), wanted.end()));
      expected = k + 1;
    }
  });
  std::array<std::byte, 48> storage;
  for (std::uint64_t k = 0; k < n_items; ++k) {
    while (!ring.try_push(record(k, storage))) std::this_thread::yield();
  }
  consumer.join();
  const Counters counters = ring.counters();
  CHECK(counters.pushed == n_items && counters.popped == n_popped);
  CHECK(balanced(counters, 0) && ring.used_bytes() == 0);
  CHECK(overflow == Overflow::drop_newest ? counters.dropped == 0 : counters.refused == 0);
}

void single_thread() {
  BasicByteRing<Orders> ring(64);
  std::vector<std::byte> in, out;
  for (int lap = 0; lap < 20; ++lap) {
    for (std::size_t length = 0; length <= ring.max_record_bytes(); ++length) {  // every length, at every place
      in.assign(length, static_cast<std::byte>(length + 1));
      CHECK(ring.try_push(in));
      CHECK(ring.try_pop(out) && in == out);
    }
  }
  CHECK(!ring.try_pop(out));
  in.resize(17);
  CHECK(ring.try_push(in) && ring.try_push(in) && !ring.try_push(in));  // 32 bytes each
  CHECK(ring.counters().refused == 1 && ring.room_bytes() == 0);
  CHECK(balanced(ring.counters(), 2));
}

void drops_oldest() {
  BasicByteRing<Orders> ring(64, Overflow::drop_oldest);
  std::vector<std::byte> small(1, std::byte{1}), large(56, std::byte{2}), out;
  for (int i = 0; i < 4; ++i) CHECK(ring.try_push(small));
  CHECK(ring.counters().dropped == 0);
  CHECK(ring.try_push(large));  // needs the whole ring
  CHECK(ring.counters().dropped == 4);
  CHECK(ring.try_pop(out) && out == large && !ring.try_pop(out));
}

template <class F>
bool refuses(F&& f) {
  try {
    f();
  } catch (const base::Error& error) {
    return error.code() == base::ErrorCode::invalid_argument;
  }
  return false;
}

void refuses_bad_sizes() {
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{8}, std::size_t{24}, std::size_t{1} << 63}) {
    CHECK(refuses([&] { BasicByteRing<Orders> ring(capacity); }));
  }
  BasicByteRing<Orders> ring(64);
  CHECK(refuses([&] { (void)ring.try_push(std::vector<std::byte>(57)); }));
  CHECK(ring.counters().refused == 0 && ring.counters().pushed == 0);
}

}  // namespace
}  // namespace kvtape::ring

int main(int argc, char** argv) {
  using namespace kvtape::ring;
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "weak" && argc == 4) return run_weak<Handshake>(argv[2], argv[3]);
  const std::uint64_t n_items = mode == "items" && argc == 3 ? std::stoull(argv[2]) : kManyItems / 10;

  single_thread();
  drops_oldest();
  refuses_bad_sizes();
  for (const Overflow overflow : {Overflow::drop_newest, Overflow::drop_oldest}) {
    Handshake<Orders>::run(overflow);
    many_records(overflow, n_items);
  }
  return 0;
}
