#pragma once
// How the idle side of a ring waits. The rings know nothing of this: a side that wants to sleep shares a Doorbell with the
// other, which rings it after a push (or a pop). Without sleepers a ring of the bell costs one atomic addition.

#include <atomic>
#include <cstdint>
#include <thread>

namespace kvtape::ring {

enum class Wait {
  spin,   // keeps the core: lowest latency
  yield,  // lets others run, and comes back as soon as the system allows
  park,   // sleeps in the kernel until the bell rings
};

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Doorbell {
 public:
  // Returns once ready() holds. ready() must itself acquire what it looks at, as try_pop does: the bell orders nothing but
  // its own ringing. A thread that parks is woken by a ring() that follows what made ready() true.
  template <class Ready>
  void wait(Wait policy, Ready ready) {
    for (int n_spins = 0;; ++n_spins) {
      const std::uint32_t seen = rings_.load();  // before ready(): a ring in between makes wait() return at once
      if (ready()) return;
      if (policy == Wait::spin || n_spins < kSpinsFirst) {
        cpu_relax();
      } else if (policy == Wait::yield) {
        std::this_thread::yield();
      } else {
        rings_.wait(seen);
      }
    }
  }

  void ring() noexcept {
    rings_.fetch_add(1);
    rings_.notify_all();
  }

 private:
  static constexpr int kSpinsFirst = 64;  // about a microsecond: what is just arriving is not worth a system call

  std::atomic<std::uint32_t> rings_{
      0};  // sequentially consistent: either the sleeper sees the ring or the bell the sleeper
};

}  // namespace kvtape::ring
