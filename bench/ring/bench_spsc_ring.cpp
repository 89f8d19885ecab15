// SpscRing against a bounded queue under a mutex: rows a second, and one-way latency. A side that finds nothing to do spins
// 64 times, then yields. Rows of 56 bytes, two threads, medians of interleaved rounds.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "ring/spsc_ring.h"
#include "ring/wait.h"

namespace {

using Clock = std::chrono::steady_clock;
using Row = std::array<std::int64_t, 7>;
constexpr std::size_t kCapacity = 4096;
constexpr int kRounds = 5;

class Ring {
 public:
  std::size_t push(std::span<const Row> rows) { return ring_.try_push(std::as_bytes(rows)); }
  std::size_t pop(std::span<Row> rows) { return ring_.try_pop(std::as_writable_bytes(rows)); }

 private:
  kvtape::ring::SpscRing ring_{kCapacity, sizeof(Row)};
};

class MutexQueue {
 public:
  std::size_t push(std::span<const Row> rows) {
    const std::lock_guard lock(mutex_);
    const std::size_t n = std::min(rows.size(), kCapacity - (tail_ - head_));
    for (std::size_t i = 0; i < n; ++i) slots_[tail_++ % kCapacity] = rows[i];
    return n;
  }
  std::size_t pop(std::span<Row> rows) {
    const std::lock_guard lock(mutex_);
    const std::size_t n = std::min(rows.size(), tail_ - head_);
    for (std::size_t i = 0; i < n; ++i) rows[i] = slots_[head_++ % kCapacity];
    return n;
  }

 private:
  std::mutex mutex_;
  std::size_t head_ = 0, tail_ = 0;
  std::vector<Row> slots_{kCapacity};
};

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

std::int64_t now_ns() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count(); }

// Every row carries its number; rows out of place end the program.
template <class Queue>
double rows_per_second(std::int64_t n_rows, std::size_t batch) {
  Queue queue;
  const std::int64_t start = now_ns();
  std::thread consumer([&] {
    std::vector<Row> rows(batch);
    Idle idle;
    for (std::int64_t next = 0; next < n_rows;) {
      const std::size_t n = queue.pop(rows);
      for (std::size_t i = 0; i < n; ++i) {
        if (rows[i][0] != next++) std::abort();
      }
      if (n == 0) idle();
    }
  });
  std::vector<Row> rows(batch);
  Idle idle;
  for (std::int64_t next = 0; next < n_rows; next += static_cast<std::int64_t>(batch)) {
    for (std::size_t i = 0; i < batch; ++i) rows[i][0] = next + static_cast<std::int64_t>(i);
    for (std::size_t done = 0; done < batch;) {
      const std::size_t n = queue.push(std::span(rows).subspan(done));
      done += n;
      if (n == 0) idle();
    }
  }
  consumer.join();
  return static_cast<double>(n_rows) / static_cast<double>(now_ns() - start) * 1e9;
}

template <class Queue>
void latency(std::size_t n_rows, std::vector<std::int64_t>& times) {
  Queue queue;
  std::thread consumer([&] {
    Row row;
    Idle idle;
    for (std::size_t i = 0; i < n_rows; ++i) {
      while (queue.pop({&row, 1}) == 0) idle();
      times.push_back(now_ns() - row[0]);
    }
  });
  Idle idle;
  std::int64_t due = now_ns();
  for (std::size_t i = 0; i < n_rows; ++i) {
    due += 10'000;
    while (now_ns() < due) idle();
    const Row row{now_ns()};
    while (queue.push({&row, 1}) == 0) idle();
  }
  consumer.join();
}

struct Result {
  std::vector<double> one, many;
  std::vector<std::int64_t> times;
};

template <class Queue>
void round(Result& result) {
  result.one.push_back(rows_per_second<Queue>(500'000, 1));
  result.many.push_back(rows_per_second<Queue>(1'280'000, 64));
  latency<Queue>(5'000, result.times);
}

template <class T>
T quantile(std::vector<T> values, double q) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(q * static_cast<double>(values.size())))];
}

void print(const char* name, const Result& result) {
  std::printf("%-12s %12.1f M %12.1f M %8lld %8lld %8lld %10lld\n", name, quantile(result.one, 0.5) / 1e6, quantile(result.many, 0.5) / 1e6,
              static_cast<long long>(quantile(result.times, 0.5)), static_cast<long long>(quantile(result.times, 0.99)),
              static_cast<long long>(quantile(result.times, 0.999)), static_cast<long long>(quantile(result.times, 1.0)));
}

}  // namespace

int main() {
  Result ring, mutex;
  for (int i = 0; i < kRounds; ++i) {
    round<Ring>(ring);
    round<MutexQueue>(mutex);
  }
  std::printf("%-12s %14s %14s %8s %8s %8s %10s\n", "", "rows/s, one", "rows/s, 64", "p50 ns", "p99 ns", "p99.9 ns", "max ns");
  print("SpscRing", ring);
  print("mutex", mutex);
  return 0;
}
