// test_shared_ring                       all tests
// test_shared_ring handshake <policy>    for ThreadSanitizer to find a weakened order, see ring_tests.cmake
//
// ThreadSanitizer knows memory by its address: where it is to see both sides, they share one mapping.

#include "ring/shared_ring.h"

#include <sys/wait.h>

#include <array>
#include <chrono>
#include <csignal>
#include <optional>
#include <random>

#include "base/error.h"
#include "ring/ring_test.h"

namespace kvtape::ring {
namespace {

using namespace std::chrono_literals;
using Item = std::array<std::uint64_t, 3>;  // k and two functions of it: a torn copy cannot pass

const std::string kName = "test_shared_ring." + std::to_string(getpid());
constexpr Overflow kPolicies[] = {Overflow::drop_newest, Overflow::drop_oldest};

Item item(std::uint64_t k) { return {k, k * 0x9E3779B97F4A7C15u, ~k}; }

SharedRing make(std::size_t capacity, Overflow overflow, std::size_t row_bytes = sizeof(Item)) {
  return SharedRing::create(kName, {.row_type = 9, .row_bytes = row_bytes, .capacity = capacity, .overflow = overflow});
}

kvtape_ring_header& header(const SharedRing& ring) {
  return *reinterpret_cast<kvtape_ring_header*>(ring.memory().data());
}

template <class F>
bool refused(base::ErrorCode code, F&& f) {
  try {
    f();
  } catch (const base::Error& error) {
    return error.code() == code;
  }
  return false;
}

std::size_t push(SharedRingWriter& writer, std::uint64_t first, std::size_t n) {
  std::vector<Item> items(n);
  for (std::size_t i = 0; i < n; ++i) items[i] = item(first + i);
  return writer.try_push(std::as_bytes(std::span(items)));
}

std::vector<std::uint64_t> pop(SharedRing& ring, std::size_t n) {
  std::vector<Item> items(n);
  items.resize(ring.try_pop(std::as_writable_bytes(std::span(items))));
  std::vector<std::uint64_t> numbers;
  for (const Item& found : items) {
    CHECK(found == item(found[0]));
    numbers.push_back(found[0]);
  }
  return numbers;
}

using Numbers = std::vector<std::uint64_t>;

// One mapping, the writer in the reader's memory: what ThreadSanitizer can follow.
struct Handshake {
  SharedRing ring;
  kvtape_ring_writer writer;
  explicit Handshake(Overflow overflow) : ring(make(16, overflow, 8)) {
    CHECK(kvtape_ring_attach(&writer, ring.memory().data(), ring.memory().size(), 9, 8) == 0);
  }
  bool push(std::uint64_t k) { return kvtape_ring_push(&writer, &k, 1) == 1; }
  bool pop(std::uint64_t& k) { return ring.try_pop(std::as_writable_bytes(std::span(&k, 1))) == 1; }
  std::uint64_t n_free() { return kvtape_ring_room(&writer); }
  std::uint64_t capacity() const { return writer.shape.capacity; }
  // Counts may include pops that n_free() did not see yet, where the writer overtook a reader that had just copied: look again.
  Counters counters() {
    const Counters found = ring.counters();
    (void)n_free();
    return found;
  }
};

// Two mappings, two threads, batches of changing size: every item once and in order (drop_newest), or an ordered subset
// that ends with the last (drop_oldest), never torn.
void many_items(Overflow overflow, std::uint64_t n_items, Wait policy) {
  SharedRing ring = make(1024, overflow);
  std::thread producer([&] {
    SharedRingWriter writer(kName);
    for (std::uint64_t next = 0, round = 0; next < n_items; ++round) {
      const std::size_t n = std::min<std::uint64_t>(1 + round % 47, n_items - next);
      const std::size_t n_taken = push(writer, next, n);
      if (n_taken < n) std::this_thread::yield();
      next += n_taken;
    }
  });
  std::uint64_t expected = 0, n_popped = 0;
  for (std::uint64_t round = 0; expected < n_items; ++round) {
    if (!ring.wait(policy, 10s)) CHECK(!"rows within 10 s");
    for (const std::uint64_t k : pop(ring, 1 + round % 61)) {
      CHECK(overflow == Overflow::drop_newest ? k == expected : k >= expected);
      expected = k + 1;
      ++n_popped;
    }
  }
  producer.join();
  const Counters counters = ring.counters();
  CHECK(counters.pushed == n_items && counters.popped == n_popped && balanced(counters, 0) && ring.size() == 0);
  CHECK(overflow == Overflow::drop_newest ? counters.dropped == 0 : counters.refused == 0);
}

// Each row is sent when the one before has arrived, so the reader sleeps each time: a wake that is lost costs 50 ms.
void each_push_wakes() {
  constexpr std::uint64_t kRows = 2'000;
  SharedRing ring = make(4, Overflow::drop_newest);
  const auto begin = std::chrono::steady_clock::now();
  std::thread producer([&] {
    SharedRingWriter writer(kName);
    for (std::uint64_t k = 0; k < kRows; ++k) {
      while (writer.room() < 4) std::this_thread::yield();
      CHECK(push(writer, k, 1) == 1);
    }
  });
  for (std::uint64_t k = 0; k < kRows; ++k) {
    CHECK(ring.wait(Wait::park, 10s));
    CHECK(pop(ring, 1) == Numbers{k});
  }
  producer.join();
  CHECK(std::chrono::steady_clock::now() - begin < kRows * 25ms);
  for (const Wait policy : {Wait::spin, Wait::yield, Wait::park}) CHECK(!ring.wait(policy, 1ms));
}

void single_thread() {
  for (const Overflow overflow : kPolicies) {
    // Counters on both sides of 2^32 and of 2^64.
    for (const std::uint64_t start : {std::uint64_t{0}, (std::uint64_t{1} << 32) - 3, std::uint64_t{0} - 3}) {
      SharedRing first = make(4, overflow);
      header(first).tail = header(first).claimed = header(first).popped = start;
      header(first).reader = 0;  // as if it had died
      SharedRing ring = SharedRing::resume(kName);
      SharedRingWriter writer(kName);
      for (int lap = 0; lap < 5; ++lap) {
        CHECK(push(writer, 0, 3) == 3 && ring.size() == 3 && writer.room() == 1);
        CHECK(pop(ring, 2) == (Numbers{0, 1}) && ring.size() == 1);
        if (overflow == Overflow::drop_newest) {
          CHECK(push(writer, 3, 6) == 3 && writer.room() == 0);
          CHECK(pop(ring, 9) == (Numbers{2, 3, 4, 5}));
        } else {
          CHECK(push(writer, 3, 9) == 9 && writer.room() == 0);  // twice the capacity in one call
          CHECK(ring.size() == 4);
          CHECK(pop(ring, 9) == (Numbers{8, 9, 10, 11}));
        }
        CHECK(pop(ring, 9).empty() && balanced(ring.counters(), 0));
      }
      const Counters counters = ring.counters();
      CHECK(counters.pushed - start == 5 * (overflow == Overflow::drop_newest ? 6 : 12));
      CHECK(counters.dropped == (overflow == Overflow::drop_newest ? 0 : 5 * 6));
      CHECK(counters.refused == (overflow == Overflow::drop_newest ? 5 * 3 : 0));
    }
  }
}

void refuses_bad_options() {
  const std::size_t bad[][2] = {{0, 8}, {3, 8}, {8, 0}, {8, 12}, {8, 65544}, {std::size_t{1} << 63, 8}};
  for (const auto& [capacity, row_bytes] : bad) {
    CHECK(refused(base::ErrorCode::invalid_argument, [&] { make(capacity, Overflow::drop_newest, row_bytes); }));
  }
  for (const std::string& name : {std::string(), std::string(".a"), std::string("a/b"), std::string("a\0b", 3),
                                  std::string("\xC3\xA4"), std::string(201, 'a')}) {
    CHECK(
        refused(base::ErrorCode::invalid_argument, [&] { SharedRing::create(name, {.row_bytes = 8, .capacity = 8}); }));
    CHECK(refused(base::ErrorCode::invalid_argument, [&] { SharedRingWriter writer(name); }));
  }
  CHECK(refused(base::ErrorCode::not_found, [] { SharedRingWriter writer(kName); }));
  CHECK(refused(base::ErrorCode::not_found, [] { SharedRing::resume(kName); }));
}

void a_process_id_that_was_handed_out_again_is_somebody_else() {
  const auto self = static_cast<std::uint32_t>(getpid());
  std::uint32_t started = 0;
  CHECK(kvtape_ring_start_time(self, &started) == 1);
  const auto alive = [&](std::uint32_t ticks) { return kvtape_ring_alive(self | std::uint64_t{ticks} << 32) != 0; };
  for (const std::uint32_t off : {0u, 1u, KVTAPE_RING_START_SLACK}) CHECK(alive(started + off) && alive(started - off));
  for (const std::uint32_t off : {KVTAPE_RING_START_SLACK + 1, 10'000u, 1u << 31}) {
    CHECK(!alive(started + off) && !alive(started - off));
  }
}

void each_side_has_one_owner() {
  std::optional<SharedRing> ring(make(4, Overflow::drop_newest));
  CHECK(!ring->has_writer());
  {
    SharedRingWriter writer(kName);
    CHECK(ring->has_writer() && writer.has_reader());
    CHECK(refused(base::ErrorCode::busy, [] { SharedRingWriter second(kName); }));
    CHECK(refused(base::ErrorCode::busy, [] { SharedRing::resume(kName); }));
    CHECK(refused(base::ErrorCode::busy, [] { make(8, Overflow::drop_newest); }));
  }
  CHECK(!ring->has_writer());
  SharedRingWriter writer(kName);
  CHECK(push(writer, 0, 2) == 2);
  ring.reset();
  CHECK(!writer.has_reader());
  CHECK(refused(base::ErrorCode::not_found, [&] { push(writer, 2, 1); }));
  CHECK(refused(base::ErrorCode::not_found, [] { SharedRingWriter second(kName); }));  // the name is gone

  SharedRing next = make(4, Overflow::drop_newest);
  next.close();
  CHECK(refused(base::ErrorCode::invalid_argument, [&] { next.check_process(); }));
  CHECK(!next.wait(Wait::park, 10s));
}

// What is in memory when the writer dies between any two of its stores.
void a_push_that_stopped_half_way() {
  SharedRing ring = make(4, Overflow::drop_oldest);
  std::optional<SharedRingWriter> writer(kName);
  CHECK(push(*writer, 0, 4) == 4);
  writer.reset();
  header(ring).claimed += 3;  // the slots of rows 0 to 2 are no longer to be trusted
  ring.memory()[KVTAPE_RING_HEADER_BYTES] = std::byte{0xEE};
  CHECK(ring.size() == 1 && ring.counters().dropped == 3);
  writer.emplace(kName);
  CHECK(push(*writer, 4, 1) == 1);  // fewer than the dead one wanted
  CHECK(header(ring).claimed == 7);
  CHECK(pop(ring, 9) == (Numbers{3, 4}));
  CHECK(balanced(ring.counters(), 0) && ring.counters().dropped == 3);
  CHECK(push(*writer, 5, 4) == 4);
  CHECK(pop(ring, 9) == (Numbers{5, 6, 7, 8}));
}

// Whatever a stranger writes: an error, or rows that are wrong; never a crash, a hang or an access outside.
void hostile_counters() {
  const std::uint64_t huge = ~std::uint64_t{0};
  const std::array<std::uint64_t, 2> bad[] = {{5, 5}, {huge, huge}, {huge / 2 + 2, 0}};
  for (const auto& [tail, claimed] : bad) {
    SharedRing ring = make(4, Overflow::drop_newest);
    header(ring).tail = tail;
    header(ring).claimed = claimed;
    CHECK(refused(base::ErrorCode::io, [&] { pop(ring, 9); }));
    CHECK(ring.size() <= 4);
  }
  for (const auto& [tail, claimed] : std::array<std::array<std::uint64_t, 2>, 3>{{{huge, huge}, {2, 7}, {0, 5}}}) {
    SharedRing ring = make(4, Overflow::drop_oldest);
    header(ring).tail = tail;
    header(ring).claimed = claimed;
    CHECK(refused(base::ErrorCode::io, [&] { pop(ring, 9); }));
    CHECK(ring.size() <= 4);
    if (claimed - tail > 4) CHECK(refused(base::ErrorCode::io, [] { SharedRingWriter writer(kName); }));
  }
  SharedRing ring = make(4, Overflow::drop_newest);  // and the reader as the stranger
  SharedRingWriter writer(kName);
  for (const std::uint64_t popped : {std::uint64_t{7}, huge - 9}) {
    header(ring).popped = popped;
    CHECK(refused(base::ErrorCode::io, [&] { push(writer, 0, 1); }));
    CHECK(writer.room() == 0);
  }
  header(ring).popped = 0;
  CHECK(push(writer, 0, 4) == 4);
}

void hostile_header() {
  const auto opens_with = [](auto&& change) {
    SharedRing ring = make(4, Overflow::drop_newest);
    change(header(ring));
    header(ring).reader = 0;
    const bool writer_refused = refused(base::ErrorCode::io, [] { SharedRingWriter writer(kName); });
    const bool reader_refused = refused(base::ErrorCode::io, [] { (void)SharedRing::resume(kName); });
    CHECK(writer_refused == reader_refused);
    return !writer_refused;
  };
  using Header = kvtape_ring_header;
  CHECK(opens_with([](Header&) {}));
  CHECK(!opens_with([](Header& h) { h.magic[0] = 'K'; }));
  CHECK(!opens_with([](Header& h) { h.version = 2; }));
  CHECK(!opens_with([](Header& h) { h.capacity = 8; }));  // more than there is
  CHECK(!opens_with([](Header& h) { h.capacity = 3; }));
  CHECK(!opens_with([](Header& h) { h.capacity = std::uint64_t{1} << 63; }));
  CHECK(!opens_with([](Header& h) { h.row_bytes = 0; }));
  CHECK(!opens_with([](Header& h) { h.row_bytes = ~std::uint64_t{7}; }));
  CHECK(!opens_with([](Header& h) { h.overflow = 2; }));
  CHECK(!opens_with([](Header& h) { ++h.pid_namespace; }));
  CHECK(opens_with([](Header& h) { h.capacity = 2; }));  // less than there is
}

void memory_cut_short() {
  std::vector<std::byte> whole;
  {
    const SharedRing ring = make(4, Overflow::drop_newest);
    whole.assign(ring.memory().begin(), ring.memory().end());
  }
  for (const std::size_t n_bytes : {std::size_t{0}, std::size_t{7}, std::size_t{511}, whole.size() - 1}) {
    const std::string path = "/dev/shm/kvtape." + kName;
    std::FILE* file = std::fopen(path.c_str(), "wb");
    CHECK(std::fwrite(whole.data(), 1, n_bytes, file) == n_bytes);
    std::fclose(file);
    CHECK(refused(base::ErrorCode::io, [] { SharedRingWriter writer(kName); }));
    CHECK(refused(base::ErrorCode::io, [] { (void)SharedRing::resume(kName); }));
    CHECK(refused(base::ErrorCode::io, [] { make(4, Overflow::drop_newest); }));  // not a stale ring: left alone
    CHECK(unlink(path.c_str()) == 0);
  }
}

void random_memory() {
  std::mt19937_64 random(1);
  for (int round = 0; round < 5'000; ++round) {
    SharedRing ring = make(4, kPolicies[round % 2]);
    std::optional<SharedRingWriter> writer(kName);
    push(*writer, 0, round % 7);
    auto* words = reinterpret_cast<std::uint64_t*>(ring.memory().data());
    for (int i = 0; i < 3; ++i) {
      const std::size_t at = i == 0 ? random() % 64 : std::array<std::size_t, 6>{17, 18, 19, 33, 34, 48}[random() % 6];
      const std::uint64_t near = words[at] + random() % 16 - 8;
      if (at != 16 && at != 32) words[at] = random() % 2 == 0 ? near : random();  // not the owners: see below
    }
    std::array<Item, 6> items;
    const auto tolerate = [](auto&& f) {
      try {
        f();
      } catch (const base::Error&) {
      }
    };
    tolerate([&] { (void)ring.try_pop(std::as_writable_bytes(std::span(items))); });
    tolerate([&] { push(*writer, 9, round % 5); });
    tolerate([&] { (void)ring.wait(Wait::park, 1us); });
    CHECK(ring.size() <= 4 && writer->room() <= 4);
    writer.reset();
    tolerate([&] { SharedRingWriter next(kName); });
    header(ring).reader = 0;
    tolerate([&] { (void)SharedRing::resume(kName); });
  }
  for (int round = 0; round < 1'000; ++round) {
    (void)kvtape_ring_alive(random());
    (void)kvtape_ring_alive(random() % 4096);
  }
  CHECK(kvtape_ring_alive(0) == 0);
  CHECK(kvtape_ring_alive(static_cast<std::uint64_t>(getpid())) == 0);  // this pid, another start
}

// ---- processes -------------------------------------------------------------------------------------------------------
// Not under ThreadSanitizer, which does not follow a process that forks.
#if !defined(__SANITIZE_THREAD__)

template <class F>
pid_t in_child(F&& f) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  try {
    f();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "child: %s\n", error.what());
    _exit(1);
  }
  _exit(0);
}

int status_of(pid_t pid) {
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  return status;
}

// Tries until the process that had this side is dead: the kill was sent, not yet received.
template <class F>
auto once_free(F&& f) {
  for (;;) {
    try {
      return f();
    } catch (const base::Error& error) {
      if (error.code() != base::ErrorCode::busy) throw;
      std::this_thread::yield();
    }
  }
}

void push_for_ever() {
  const auto writer = once_free([] { return std::make_unique<SharedRingWriter>(kName); });
  for (std::size_t round = 0;; ++round) {
    const std::size_t n_taken = push(*writer, writer->n_pushed(), 1 + round % 23);
    if (n_taken == 0) std::this_thread::yield();
  }
}

void writers_are_killed(Overflow overflow) {
  constexpr int kRounds = 300;
  std::mt19937_64 random(2);
  SharedRing ring = make(16, overflow);
  std::uint64_t expected = 0, n_popped = 0;
  const auto drain = [&] {
    std::size_t n = 0;
    for (const std::uint64_t k : pop(ring, 1 + random() % 20)) {
      CHECK(overflow == Overflow::drop_newest ? k == expected : k >= expected);
      expected = k + 1;
      ++n;
    }
    n_popped += n;
    return n;
  };
  pid_t last = 0;
  for (int round = 0; round < kRounds; ++round) {
    const pid_t writer = in_child(push_for_ever);
    const std::uint64_t n_before = n_popped;
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 1500);
    while (n_popped == n_before || std::chrono::steady_clock::now() < end) drain();
    CHECK(kill(writer, SIGKILL) == 0);
    if (last != 0) CHECK(WIFSIGNALED(status_of(last)));  // a zombie until here: that is dead too
    last = writer;
  }
  CHECK(WIFSIGNALED(status_of(last)));
  while (drain() > 0) {
  }
  CHECK(!ring.has_writer());
  const Counters counters = ring.counters();
  CHECK(balanced(counters, 0) && counters.popped == n_popped && counters.popped > kRounds);
  CHECK(overflow == Overflow::drop_oldest || counters.dropped == 0);
}

void readers_are_killed(Overflow overflow) {
  constexpr int kRounds = 300;
  std::mt19937_64 random(3);
  SharedRing first = make(16, overflow);
  header(first).reader = 0;  // as if it had died
  SharedRingWriter writer(kName);
  auto* seen = static_cast<std::uint64_t*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));  // [0]: next row, [1]: rows seen
  const auto read_for_ever = [&] {
    SharedRing ring = once_free([] { return SharedRing::resume(kName); });
    for (std::size_t round = 0;; ++round) {
      (void)ring.wait(Wait::park, 1ms);
      for (const std::uint64_t k : pop(ring, 1 + round % 20)) {
        CHECK(k >= seen[0]);  // none twice
        __atomic_store_n(&seen[0], k + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&seen[1], seen[1] + 1, __ATOMIC_RELAXED);
      }
    }
  };
  std::uint64_t next = 0;
  for (int round = 0; round < kRounds; ++round) {
    const pid_t reader = in_child(read_for_ever);
    const std::uint64_t n_before = __atomic_load_n(&seen[1], __ATOMIC_RELAXED);
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 1500);
    while (__atomic_load_n(&seen[1], __ATOMIC_RELAXED) == n_before || std::chrono::steady_clock::now() < end) {
      const std::size_t n_taken = push(writer, next, 1 + next % 23);
      if (n_taken == 0) std::this_thread::yield();
      next += n_taken;
    }
    CHECK(kill(reader, SIGKILL) == 0);
    const int status = status_of(reader);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  SharedRing ring = SharedRing::resume(kName);
  const std::uint64_t n_left = ring.size();
  const Counters counters = ring.counters();
  CHECK(counters.pushed == next && balanced(counters, n_left));
  CHECK(pop(ring, 99).size() == n_left);
  // What a reader had taken and not looked at when it was killed is all that may be missing.
  CHECK(counters.popped >= seen[1] && counters.popped - seen[1] <= kRounds * 20);
  CHECK(overflow == Overflow::drop_oldest || counters.dropped == 0);
  munmap(seen, 4096);
}

void forked_children_let_go() {
  SharedRing ring = make(4, Overflow::drop_newest);
  SharedRingWriter writer(kName);
  const pid_t child = in_child([&] {
    CHECK(refused(base::ErrorCode::closed, [&] { ring.check_process(); }));
    CHECK(refused(base::ErrorCode::closed, [&] { writer.check_process(); }));
    CHECK(refused(base::ErrorCode::busy, [] { SharedRingWriter second(kName); }));
    ring.close();
    writer.close();
  });
  CHECK(status_of(child) == 0);
  CHECK(ring.has_writer() && writer.has_reader());
  CHECK(push(writer, 0, 1) == 1 && pop(ring, 1) == Numbers{0});
}

void a_new_ring_replaces_that_of_a_dead_reader() {
  const pid_t reader = in_child([] {
    SharedRing ring = make(4, Overflow::drop_newest);
    SharedRingWriter writer(kName);
    push(writer, 0, 3);
    writer.close();
    kill(getpid(), SIGKILL);
  });
  CHECK(WIFSIGNALED(status_of(reader)));
  SharedRingWriter writer(kName);
  CHECK(!writer.has_reader() && push(writer, 3, 3) == 1);
  SharedRing ring = make(8, Overflow::drop_oldest);
  CHECK(ring.size() == 0 && ring.shape().capacity == 8);
  CHECK(refused(base::ErrorCode::not_found, [&] { push(writer, 4, 1); }));  // told to look for the new one
  SharedRingWriter again(kName);
  CHECK(push(again, 0, 1) == 1 && pop(ring, 1) == Numbers{0});
}

void processes() {
  forked_children_let_go();
  a_new_ring_replaces_that_of_a_dead_reader();
  for (const Overflow overflow : kPolicies) {
    writers_are_killed(overflow);
    readers_are_killed(overflow);
  }
}
#else
void processes() {}
#endif

}  // namespace
}  // namespace kvtape::ring

int main(int argc, char** argv) {
  using namespace kvtape::ring;
  if (argc == 3 && std::string_view(argv[1]) == "handshake") {
    handshake(Handshake(std::string_view(argv[2]) == "drop_oldest" ? Overflow::drop_oldest : Overflow::drop_newest));
    return 0;
  }
  processes();  // first: before there are threads
  single_thread();
  refuses_bad_options();
  each_side_has_one_owner();
  a_process_id_that_was_handed_out_again_is_somebody_else();
  a_push_that_stopped_half_way();
  hostile_counters();
  hostile_header();
  memory_cut_short();
  random_memory();
  for (const Overflow overflow : kPolicies) {
    handshake(Handshake(overflow));
    many_items(overflow, kManyItems / 10, Wait::yield);
    many_items(overflow, kManyItems / 10, Wait::park);
    many_items(overflow, kManyItems / 100, Wait::spin);
  }
  each_push_wakes();
  CHECK(access(("/dev/shm/kvtape." + kName).c_str(), F_OK) != 0);
  return 0;
}
