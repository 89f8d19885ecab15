#include "base/thread_pool.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <thread>
#include <vector>

#include "base/error.h"
#include "check.h"

namespace {

using kvtape::base::Error;
using kvtape::base::ErrorCode;
using kvtape::base::ThreadPool;

// The sanitizers neither start threads after a fork of several nor run under RLIMIT_AS; qemu-user aborts where a forked
// child starts threads.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || defined(KVTAPE_EMULATED)
constexpr bool kStartsThreadsInChildren = false;
#else
constexpr bool kStartsThreadsInChildren = true;
#endif

// Every index once, by a worker of the lease, and the plain writes of all of them visible afterwards (TSan looks on).
void every_index_once() {
  ThreadPool pool;
  for (std::size_t n_threads : {1, 2, 3, 4, 2, 1, 4}) {
    ThreadPool::Lease lease(pool, n_threads);
    CHECK(lease.n_threads() == n_threads);
    for (std::size_t n : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> done(n);
      std::vector<std::size_t> by_worker(n_threads);  // scratch that needs no lock
      std::atomic<bool> strange_worker = false;
      lease.parallel_for(n, [&](std::size_t index, std::size_t worker) {
        if (worker >= n_threads)
          strange_worker = true;
        else
          ++by_worker[worker];
        ++done[index];
      });
      CHECK(done == std::vector<int>(n, 1), "n = %zu, %zu threads", n, n_threads);
      CHECK(std::accumulate(by_worker.begin(), by_worker.end(), std::size_t{0}) == n);
      CHECK(!strange_worker);
    }
  }
}

// Short sections in a row, each reading what the one before wrote at other indices.
void sections_follow_each_other() {
  ThreadPool pool;
  ThreadPool::Lease lease(pool, 3);
  constexpr std::size_t n = 5;
  std::vector<std::uint64_t> a(n, 1), b(n);
  constexpr int n_sections = 4000;
  for (int section = 0; section < n_sections; ++section) {
    lease.parallel_for(n, [&](std::size_t i, std::size_t) { b[i] = a[(i + 1) % n] + 1; });
    std::swap(a, b);
  }
  CHECK(a == std::vector<std::uint64_t>(n, n_sections + 1));
}

// A thread that does not get on with an item leaves the rest of its share to the others, from either side.
void others_take_what_is_left() {
  ThreadPool pool;
  ThreadPool::Lease lease(pool, 3);
  constexpr std::size_t n = 30;
  for (std::size_t slow : {0, 10, 20}) {  // the first item of each share
    std::atomic<std::size_t> n_done = 0;
    lease.parallel_for(n, [&](std::size_t i, std::size_t) {
      while (i == slow && n_done < n - 1) std::this_thread::yield();
      ++n_done;
    });
    CHECK(n_done == n);
  }
}

// Hints change nothing, whatever they point at.
void fetches_what_is_not_there() {
  ThreadPool pool;
  for (std::size_t n_threads : {1, 2, 3}) {
    ThreadPool::Lease lease(pool, n_threads);
    const std::vector<std::byte> data(100000);
    for (const std::byte* at : {data.data(), static_cast<const std::byte*>(nullptr)}) {
      for (int section = 0; section < 100; ++section) {
        for (std::size_t t = 0; t < n_threads; ++t) lease.fetch_soon(t, at, data.size());
        std::atomic<std::size_t> n_done = 0;
        lease.parallel_for(7, [&](std::size_t, std::size_t) { ++n_done; });
        CHECK(n_done == 7);
      }
    }
  }
}

// Leases of several threads take turns: what they share needs no lock of its own.
void leases_exclude_each_other() {
  ThreadPool pool;
  std::uint64_t n_leases = 0, n_indices = 0;
  std::vector<std::thread> threads;
  constexpr std::size_t n_users = 4, n_rounds = 100;
  for (std::size_t user = 0; user < n_users; ++user) {
    threads.emplace_back([&, user] {
      for (std::size_t round = 0; round < n_rounds; ++round) {
        ThreadPool::Lease lease(pool, 1 + (user + round) % 4);
        ++n_leases;
        std::vector<std::uint64_t> done(11);
        lease.parallel_for(done.size(), [&](std::size_t i, std::size_t) { done[i] = 1; });
        n_indices += std::accumulate(done.begin(), done.end(), std::uint64_t{0});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(n_leases == n_users * n_rounds);
  CHECK(n_indices == n_users * n_rounds * 11);
}

void refuses_impossible_sizes() {
  for (std::size_t n_threads : {std::size_t{0}, std::size_t{1025}, ~std::size_t{0}}) {
    bool refused = false;
    try {
      ThreadPool::Lease lease(ThreadPool::shared(), n_threads);
    } catch (const Error& error) {
      refused = error.code() == ErrorCode::invalid_argument;
    }
    CHECK(refused, "n_threads = %zu", n_threads);
  }
  ThreadPool::Lease lease(ThreadPool::shared(), 2);
  bool refused = false;
  try {
    lease.parallel_for(std::size_t{1} << 26, [](std::size_t, std::size_t) {});
  } catch (const Error& error) {
    refused = error.code() == ErrorCode::invalid_argument;
  }
  CHECK(refused);
}

void counts_cores() { CHECK(kvtape::base::usable_cores() >= 1); }

// Whether f returns true in a forked child.
template <class F>
bool in_child(F f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a hang ends as a failure
    _exit(f() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool shared_pool_works() {
  std::vector<int> done(100);
  ThreadPool::Lease lease(ThreadPool::shared(), 2);
  lease.parallel_for(done.size(), [&](std::size_t i, std::size_t) { done[i] = 1; });
  return done == std::vector<int>(100, 1);
}

// The parent's workers are not in the child, and the lease it holds is not the child's.
void forked_child_has_its_own_pool() {
  CHECK(shared_pool_works());
  {
    ThreadPool::Lease held(ThreadPool::shared(), 2);
    CHECK(in_child(shared_pool_works));
  }
  CHECK(shared_pool_works());
}

// A lease that cannot have its threads gives its turn back.
void survives_a_lack_of_threads() {
  CHECK(in_child([] {
    std::size_t n_pages = 0;
    std::ifstream("/proc/self/statm") >> n_pages;
    const rlim_t room = n_pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20);  // some 8 stacks
    const rlimit limit{room, room};
    if (setrlimit(RLIMIT_AS, &limit) != 0) return false;
    bool refused = false;
    try {
      ThreadPool::Lease lease(ThreadPool::shared(), 1000);
    } catch (const Error& error) {
      refused = error.code() == ErrorCode::io;
    }
    return refused && shared_pool_works();
  }));
}

}  // namespace

int main() {
  every_index_once();
  sections_follow_each_other();
  others_take_what_is_left();
  fetches_what_is_not_there();
  leases_exclude_each_other();
  refuses_impossible_sizes();
  counts_cores();
  if (kStartsThreadsInChildren) {
    forked_child_has_its_own_pool();
    survives_a_lack_of_threads();
  }
  return kvtape::test::failures();
}
