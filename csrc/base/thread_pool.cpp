#include "base/thread_pool.h"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "base/error.h"

namespace kvtape::base {
namespace {

constexpr std::size_t kMaxThreads = 1024;
constexpr std::size_t kFetchLines = 8;

std::atomic<ThreadPool*> shared_pool{nullptr};

void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Items [begin, end) of a section that nobody has claimed yet, and how many threads may take part in it.
struct Share {
  std::uint64_t n_threads, begin, end;

  static constexpr std::uint64_t kMaxItems = (1u << 26) - 1;
  static Share of(std::uint64_t word) noexcept { return {word >> 52, word >> 26 & kMaxItems, word & kMaxItems}; }
  [[nodiscard]] std::uint64_t word() const noexcept { return n_threads << 52 | begin << 26 | end; }
};

// What one thread of a lease is to do, on a cache line of its own.
struct alignas(64) Slot {
  // The thread's share. It takes items from the front, others take from the end. Storing it publishes the section to
  // whoever claims one (A); body and context stand still as long as a claimed item is not done.
  std::atomic<std::uint64_t> share{0};
  ThreadPool::Body body = nullptr;
  void* context = nullptr;
  // What the thread fetches while it waits. Fetching has no effect, so the two need not be of one hint.
  std::atomic<const std::byte*> fetch_at{nullptr}, fetch_end{nullptr};

  // With (A) it also sees the slots of all threads of the section.
  [[nodiscard]] Share peek() const noexcept { return Share::of(share.load(std::memory_order_acquire)); }
  [[nodiscard]] bool has_item() const noexcept {
    const Share seen = peek();
    return seen.begin < seen.end;
  }

  // False where there is no item for this worker.
  bool try_claim(std::size_t worker, bool from_front, std::size_t& item) noexcept {
    std::uint64_t seen = share.load(std::memory_order_relaxed);
    Share left;
    do {
      left = Share::of(seen);
      if (left.begin >= left.end || worker >= left.n_threads) return false;
      item = from_front ? left.begin++ : --left.end;
    } while (!share.compare_exchange_weak(seen, left.word(), std::memory_order_acquire, std::memory_order_relaxed));
    return true;  // pairs with (A)
  }

  // One turn of waiting. Zen 4 drops requests that come faster than memory delivers, so some lines a pause (25 ns):
  // 20 GB/s, all of which arrive; of twice as many a third does not.
  void fetch_or_pause() noexcept {
    const std::byte* at = fetch_at.load(std::memory_order_relaxed);
    if (at < fetch_end.load(std::memory_order_relaxed)) {
      for (std::size_t i = 0; i < kFetchLines; ++i) __builtin_prefetch(at + 64 * i, 0, 2);
      fetch_at.compare_exchange_strong(at, at + 64 * kFetchLines, std::memory_order_relaxed);  // or there is a new hint
    }
    cpu_relax();
  }
};

// Fetches or spins for about 50 us, then yields, until done() holds.
template <class Done>
void wait_until(Slot& slot, Done done) noexcept {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < 64; ++i) {
    if (done()) return;
    slot.fetch_or_pause();
  }
  const auto deadline = Clock::now() + std::chrono::microseconds(50);
  while (Clock::now() < deadline) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return;
      slot.fetch_or_pause();
    }
  }
  while (!done()) std::this_thread::yield();
}

}  // namespace

struct ThreadPool::State {
  // Leases are handed out in order of arrival.
  std::mutex lease_mutex;
  std::condition_variable lease_turn;
  std::uint64_t next_ticket = 0, now_serving = 0;

  // Of the caller and the workers. Each is made before its thread starts, and stays.
  std::array<std::unique_ptr<Slot>, kMaxThreads> slots;
  // Items done, added by each thread when it finds no more to claim (B). A thread that has claimed nothing is not waited
  // for: one that lost its core delays nobody.
  alignas(64) std::atomic<std::size_t> n_done{0};

  // Parking: workers sleep on `wake` while no lease wants them.
  alignas(64) std::mutex park_mutex;
  std::condition_variable wake;
  std::atomic<std::size_t> n_wanted{0};  // workers (without the caller) of the present lease
  bool stopping = false;
  std::vector<std::thread> workers;

  // Deals n items in order and equal shares; the caller's own comes last, for it is there.
  void publish(std::size_t n, std::size_t n_threads, Body body, void* context) noexcept {
    n_done.store(0, std::memory_order_relaxed);
    for (std::size_t t = n_threads; t-- > 0;) {
      slots[t]->body = body;
      slots[t]->context = context;
      const Share share{n_threads, t * n / n_threads, (t + 1) * n / n_threads};
      slots[t]->share.store(share.word(), std::memory_order_release);  // (A)
    }
  }

  // Does the thread's own items, then what is left of the others'.
  void do_items(std::size_t worker) {
    const std::size_t n_threads = slots[worker]->peek().n_threads;
    std::size_t n = 0;
    for (std::size_t i = 0, item = 0; i < n_threads; ++i) {
      Slot& slot = *slots[(worker + i) % n_threads];
      for (; slot.try_claim(worker, i == 0, item); ++n) slot.body(slot.context, item, worker);
    }
    if (n > 0) n_done.fetch_add(n, std::memory_order_release);  // (B) publishes the items' writes; run() acquires it
  }

  void work(std::size_t worker) {
    Slot& slot = *slots[worker];
    for (;;) {
      {
        std::unique_lock lock(park_mutex);
        wake.wait(lock, [&] { return stopping || n_wanted.load(std::memory_order_relaxed) >= worker; });
        if (stopping) return;
      }
      const auto lease_over = [&] { return n_wanted.load(std::memory_order_relaxed) < worker; };
      while (!lease_over()) {
        wait_until(slot, [&] { return slot.has_item() || lease_over(); });
        do_items(worker);
      }
    }
  }

  void next_lease() {
    {
      std::lock_guard lock(lease_mutex);
      ++now_serving;
    }
    lease_turn.notify_all();
  }
};

ThreadPool& ThreadPool::shared() {
#if defined(__unix__) || defined(__APPLE__)
  // The child of a fork has none of its parent's workers, and perhaps a lease nobody will give back: it starts anew.
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { shared_pool.store(nullptr, std::memory_order_relaxed); });
  (void)registered;
#endif
  ThreadPool* pool = shared_pool.load(std::memory_order_acquire);  // pairs with (C)
  if (pool != nullptr) return *pool;
  // Never destroyed: worker threads may outlive static destructors of an embedding process.
  ThreadPool* made = new ThreadPool();
  if (shared_pool.compare_exchange_strong(pool, made, std::memory_order_acq_rel))
    return *made;  // (C) publishes the pool
  delete made;
  return *pool;
}

ThreadPool::ThreadPool() : state_(new State()) { state_->slots[0] = std::make_unique<Slot>(); }

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->park_mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  for (auto& worker : state_->workers) worker.join();
  delete state_;
}

ThreadPool::Lease::Lease(ThreadPool& pool, std::size_t n_threads) : pool_(pool), n_threads_(n_threads) {
  if (n_threads == 0 || n_threads > kMaxThreads) {
    throw Error(ErrorCode::invalid_argument, std::string("n_threads: ") + std::to_string(n_threads) + ", wanted 1 to " +
                                                 std::to_string(kMaxThreads));
  }
  State& s = *pool_.state_;
  {
    std::unique_lock lock(s.lease_mutex);
    const std::uint64_t ticket = s.next_ticket++;
    s.lease_turn.wait(lock, [&] { return s.now_serving == ticket; });
  }
  if (n_threads == 1) return;
  try {
    std::lock_guard lock(s.park_mutex);
    while (s.workers.size() + 1 < n_threads) {
      const std::size_t worker = s.workers.size() + 1;
      if (s.slots[worker] == nullptr) s.slots[worker] = std::make_unique<Slot>();
      s.workers.emplace_back([&s, worker] { s.work(worker); });
    }
    s.n_wanted.store(n_threads - 1, std::memory_order_relaxed);
  } catch (const std::system_error& error) {  // no more threads; those that did start stay parked
    s.next_lease();
    throw Error(ErrorCode::io, "thread pool: cannot start " + std::to_string(n_threads) + " threads: " + error.what());
  }
  s.wake.notify_all();
}

ThreadPool::Lease::~Lease() {
  State& s = *pool_.state_;
  for (std::size_t t = 0; t < n_threads_; ++t) fetch_soon(t, nullptr, 0);
  s.n_wanted.store(0, std::memory_order_relaxed);
  s.next_lease();
}

void ThreadPool::Lease::run(std::size_t n, Body body, void* context) {
  State& s = *pool_.state_;
  if (n_threads_ == 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) body(context, i, 0);
    return;
  }
  if (n > Share::kMaxItems) {
    throw Error(ErrorCode::invalid_argument,
                "parallel_for: " + std::to_string(n) + " items, wanted at most " + std::to_string(Share::kMaxItems));
  }
  s.publish(n, n_threads_, body, context);
  s.do_items(0);
  wait_until(*s.slots[0], [&] { return s.n_done.load(std::memory_order_acquire) == n; });  // pairs with (B)
}

void ThreadPool::Lease::fetch_soon(std::size_t worker, const std::byte* data, std::size_t n_bytes) noexcept {
  if (n_threads_ == 1) return;
  Slot& slot = *pool_.state_->slots[worker];
  slot.fetch_end.store(data + n_bytes, std::memory_order_relaxed);
  slot.fetch_at.store(data, std::memory_order_relaxed);
}

std::size_t usable_cores() noexcept {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    const int n = CPU_COUNT(&set);
    if (n > 0) return static_cast<std::size_t>(n);
  }
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n == 0 ? 1 : n;
}

}  // namespace kvtape::base
