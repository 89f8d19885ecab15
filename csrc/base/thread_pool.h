#pragma once
// One pool for the process. A model step takes it (Lease), runs parallel sections on it, and gives it back; several
// engines take turns, so threads never outnumber the cores asked for.
//
// Inside a lease a waiting worker spins for about 50 us, then yields; it parks only when the lease ends: a futex
// wake costs 10 to 100 us against some 150 sections a decode step. Only items that somebody has begun are waited for, so
// that a worker whose core is taken by another program costs its share of the work and not the time it is away.

#include <cstddef>
#include <type_traits>

namespace kvtape::base {

class ThreadPool {
 public:
  // A section's body: does item `index`; `worker` is 0 .. n_threads-1 and names scratch memory. Must not throw.
  using Body = void (*)(void* context, std::size_t index, std::size_t worker);

  class Lease {
   public:
    // Waits for the pool, in order of arrival. n_threads counts the caller; 1 to 1024. A thread that holds a lease
    // must not ask for another. Throws invalid_argument, or io where the system gives no more threads.
    Lease(ThreadPool& pool, std::size_t n_threads);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    [[nodiscard]] std::size_t n_threads() const noexcept { return n_threads_; }

    // Runs f(index, worker) for every index in [0, n), in any order, and returns when all are done.
    template <class F>
    void parallel_for(std::size_t n, F&& f) {
      using Function = std::remove_reference_t<F>;
      run(
          n,
          [](void* context, std::size_t index, std::size_t worker) {
            (*static_cast<Function*>(context))(index, worker);
          },
          const_cast<std::remove_const_t<Function>*>(&f));
    }

   private:
    void run(std::size_t n, Body body, void* context);
    ThreadPool& pool_;
    std::size_t n_threads_;
  };

  // Its threads start with the first lease for more than one, never at import. A forked child has a pool of its own.
  static ThreadPool& shared();

  ThreadPool();
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  struct State;
  State* state_;
};

// Cores this process may run on; at least 1.
std::size_t usable_cores() noexcept;

}  // namespace kvtape::base
