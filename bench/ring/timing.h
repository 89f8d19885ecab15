#pragma once
// What the programs of this folder share: cores, the clock, and quantiles.

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include "ring/wait.h"

// A side that finds nothing to do spins 64 times, then yields.
class Idle {
 public:
  void operator()() {
    if (++n_ % 64 == 0) {
      std::this_thread::yield();
    } else {
      kvtape::ring::cpu_relax();
    }
  }

 private:
  unsigned n_ = 0;
};

// Keeps this thread on the n-th core that the process may use: two threads that share a core measure the scheduler.
inline void pin(int n) {
  static const cpu_set_t allowed = [] {
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    return cpus;
  }();
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && n-- == 0) CPU_SET(cpu, &one);
  }
  pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

inline std::int64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

template <class T>
T quantile(std::vector<T> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(q * static_cast<double>(values.size())))];
}

// Ours over theirs, inside each round: median and quartiles.
inline void print_ratio(const char* what, const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> ratios(ours.size());
  for (std::size_t i = 0; i < ours.size(); ++i) ratios[i] = ours[i] / theirs[i];
  std::printf("  %s %.2f (%.2f .. %.2f)", what, quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75));
}
