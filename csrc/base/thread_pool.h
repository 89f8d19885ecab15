#pragma once
// One pool for the process. A model step takes it (Lease), runs parallel sections on it, and gives it back; several
// engines take turns, so threads never outnumber the cores asked for.
//
// A section's items are dealt in equal shares, worker 0 the first ones and so on, and each worker goes through its own in
// order; one that is done takes from the end of what others have left. So who reads which memory is known beforehand (but
// for what is taken), and a waiting worker can fetch the first of it. Only items that somebody has begun are waited for:
// a worker whose core is taken by another program costs its share of the work and not the time it is away.
//
// Inside a lease a waiting worker spins for about 50 us, then yields; it parks only when the lease ends: a futex
// wake costs 10 to 100 us against some 150 sections a decode step.

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

    // A hint: while `worker` waits it may fetch [data, data + n_bytes) into its cache, until the next hint. Said before a
    // section it serves the next one: memory is idle from the end of this one to the begin of that. The bytes are not
    // read, and need not be there.
    void fetch_soon(std::size_t worker, const std::byte* data, std::size_t n_bytes) noexcept;

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
