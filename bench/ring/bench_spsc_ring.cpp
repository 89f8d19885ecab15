// SpscRing against other bounded queues of one producer and one consumer: rows a second one by one and in batches of 16,
// and one-way latency. Rows of 64 bytes, two threads, each on a core of its own, rounds in turn; a side that finds nothing
// to do spins 64 times, then yields. Peers come from -DKVTAPE_BENCH_INCLUDE="DIR;DIR": what is not found there or in the
// system is left out.
//
//   bench_spsc_ring [ROUNDS]

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "queues/kvtape.h"
#include "queues/mutex.h"
#include "timing.h"
#if __has_include(<boost/lockfree/spsc_queue.hpp>)
#include "queues/boost.h"
#endif
#if __has_include(<rigtorp/SPSCQueue.h>)
#include "queues/rigtorp.h"
#endif
#if __has_include(<readerwriterqueue/readerwriterqueue.h>)
#include "queues/moodycamel.h"
#endif
#if __has_include(<folly/ProducerConsumerQueue.h>)
#include "queues/folly.h"
#endif

namespace {

constexpr std::size_t kBatch = 16;

// Every row carries its number; rows out of place end the program.
template <class Queue, std::size_t batch>
double rows_per_second(std::int64_t n_rows) {
  Queue queue;
  const std::int64_t start = now_ns();
  std::thread consumer([&] {
    pin(1);
    std::array<Row, batch> rows;
    Idle idle;
    for (std::int64_t next = 0; next < n_rows;) {
      const std::size_t n = queue.pop(rows);
      for (std::size_t i = 0; i < n; ++i) {
        if (rows[i][0] != next++) std::abort();
      }
      if (n == 0) idle();
    }
  });
  std::array<Row, batch> rows{};
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
    pin(1);
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
  std::string name;
  std::vector<double> one, many;
  std::vector<std::int64_t> times;
};

template <class... Queues>
std::vector<Result> measure(int n_rounds) {
  std::vector<Result> results{Result{Queues::kName, {}, {}, {}}...};
  for (int round = 0; round < n_rounds; ++round) {
    std::size_t i = 0;
    (results[i++].one.push_back(rows_per_second<Queues, 1>(2'000'000)), ...);
    i = 0;
    (results[i++].many.push_back(rows_per_second<Queues, kBatch>(8'000'000)), ...);
    i = 0;
    (latency<Queues>(2'000, results[i++].times), ...);
  }
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  pin(0);
  const std::vector<Result> results = measure<Kvtape
#if __has_include(<rigtorp/SPSCQueue.h>)
                                              ,
                                              Rigtorp
#endif
#if __has_include(<boost/lockfree/spsc_queue.hpp>)
                                              ,
                                              Boost
#endif
#if __has_include(<readerwriterqueue/readerwriterqueue.h>)
                                              ,
                                              Moodycamel
#endif
#if __has_include(<folly/ProducerConsumerQueue.h>)
                                              ,
                                              Folly
#endif
                                              ,
                                              Mutex>(argc > 1 ? std::atoi(argv[1]) : 7);
  std::printf("rows of %zu bytes; medians, and kvtape's times the speed of each (quartiles)\n", sizeof(Row));
  std::printf("%-12s %12s %12s %8s %8s %8s\n", "", "one by one", "by 16", "p50 ns", "p99 ns", "p99.9 ns");
  for (const Result& result : results) {
    std::printf("%-12s %10.1f M %10.1f M %8lld %8lld %8lld", result.name.c_str(), quantile(result.one, 0.5) / 1e6,
                quantile(result.many, 0.5) / 1e6, static_cast<long long>(quantile(result.times, 0.5)),
                static_cast<long long>(quantile(result.times, 0.99)),
                static_cast<long long>(quantile(result.times, 0.999)));
    print_ratio("one", results[0].one, result.one);
    print_ratio("by 16", results[0].many, result.many);
    std::printf("\n");
  }
  return 0;
}
