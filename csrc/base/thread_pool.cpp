#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
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

std::atomic<ThreadPool*> shared_pool{nullptr};

void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins for about 50 us, then yields, until done() holds.
template <class Done>
void spin_until(Done done) noexcept {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < 64; ++i) {
    if (done()) return;
    cpu_relax();
  }
  const auto deadline = Clock::now() + std::chrono::microseconds(50);
  while (!done()) {
    if (Clock::now() < deadline) {
      for (int i = 0; i < 16; ++i) cpu_relax();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace

struct ThreadPool::State {
  // Leases are handed out in order of arrival.
  std::mutex lease_mutex;
  std::condition_variable lease_turn;
  std::uint64_t next_ticket = 0, now_serving = 0;

  // The open section: its number, who may take part, and how many items nobody has claimed yet. Storing it publishes the
  // section (A); an item is claimed by counting it down; n_done counts what is finished (B). A thread that claims
  // nothing is not waited for: one that lost its core delays nobody. body, context and n_items stand still as long as
  // a claimed item is not done.
  alignas(64) std::atomic<std::uint64_t> open{0};  // [section: 20][n_threads: 12][n_left: 32]
  alignas(64) std::atomic<std::size_t> n_done{0};
  alignas(64) Body body = nullptr;
  void* context = nullptr;
  std::size_t n_items = 0;
  std::uint64_t section = 0;

  // Parking: workers sleep on `wake` while no lease wants them.
  std::mutex park_mutex;
  std::condition_variable wake;
  std::atomic<std::size_t> n_wanted{0};  // workers (without the caller) of the present lease
  bool stopping = false;
  std::vector<std::thread> workers;

  static bool has_item(std::uint64_t open_section, std::size_t worker) noexcept {
    return (open_section & 0xffffffffu) != 0 && worker < ((open_section >> 32) & 0xfffu);
  }

  void publish(std::size_t n, std::size_t n_threads) noexcept {
    n_done.store(0, std::memory_order_relaxed);
    open.store(++section << 44 | n_threads << 32 | n, std::memory_order_release);  // (A)
  }

  // Claims an item and does it. False where there is none for this worker.
  bool try_item(std::size_t worker) {
    std::uint64_t seen = open.load(std::memory_order_relaxed);
    do {
      if (!has_item(seen, worker)) return false;
    } while (!open.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire, std::memory_order_relaxed));
    body(context, n_items - (seen & 0xffffffffu), worker);  // pairs with (A)
    n_done.fetch_add(1, std::memory_order_release);         // (B) publishes the item's writes; run() acquires it
    return true;
  }

  void work(std::size_t worker) {
    for (;;) {
      {
        std::unique_lock lock(park_mutex);
        wake.wait(lock, [&] { return stopping || n_wanted.load(std::memory_order_relaxed) >= worker; });
        if (stopping) return;
      }
      const auto lease_over = [&] { return n_wanted.load(std::memory_order_relaxed) < worker; };
      while (!lease_over()) {
        spin_until([&] { return has_item(open.load(std::memory_order_relaxed), worker) || lease_over(); });
        while (try_item(worker)) {
        }
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

ThreadPool::ThreadPool() : state_(new State()) {}

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
  s.n_wanted.store(0, std::memory_order_relaxed);
  s.next_lease();
}

void ThreadPool::Lease::run(std::size_t n, Body body, void* context) {
  State& s = *pool_.state_;
  if (n_threads_ == 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) body(context, i, 0);
    return;
  }
  if (n > 0xffffffffu) {
    throw Error(ErrorCode::invalid_argument, "parallel_for: " + std::to_string(n) + " items, wanted less than 2^32");
  }
  s.body = body;
  s.context = context;
  s.n_items = n;
  s.publish(n, n_threads_);
  while (s.try_item(0)) {
  }
  spin_until([&] { return s.n_done.load(std::memory_order_acquire) == n; });  // pairs with (B)
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
