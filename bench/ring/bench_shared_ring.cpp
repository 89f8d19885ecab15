// SharedRing between two processes, beside SpscRing between two threads and a pipe between two processes: rows a second one by
// one and in batches of 16, and the one-way latency of single rows. Rows of 64 bytes, each side on a core of its own, rounds in
// turn. A reader polls (spins 64 times, then yields) or sleeps until there is something, as a pipe's does.
//
//   bench_shared_ring [ROUNDS]

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "queues/kvtape.h"
#include "queues/row.h"
#include "ring/shared_ring.h"
#include "timing.h"

namespace {

using namespace kvtape::ring;
constexpr std::size_t kLatencyRows = 2'000;
constexpr std::int64_t kGapNs = 100'000;  // long enough for a reader to fall asleep

// A contender is made before the sides part; then the reader's side calls open_reader and pop, the writer's open_writer and
// push. pop waits for rows.
struct InProcess {
  static constexpr const char* kName = "threads";
  static constexpr bool kForks = false;
  Kvtape queue;
  void open_reader() {}
  void open_writer() {}
  std::size_t push(std::span<const Row> rows) { return queue.push(rows); }
  std::size_t pop(std::span<Row> rows) {
    Idle idle;
    std::size_t n = 0;
    while ((n = queue.pop(rows)) == 0) idle();
    return n;
  }
};

template <bool sleeps>
struct Shared {
  static constexpr const char* kName = sleeps ? "shared, sleeps" : "shared, polls";
  static constexpr bool kForks = true;
  std::string name = "bench_shared_ring." + std::to_string(getpid());
  std::unique_ptr<SharedRing> ring;
  std::unique_ptr<SharedRingWriter> writer;
  void open_reader() {
    ring = std::make_unique<SharedRing>(
        SharedRing::create(name, {.row_bytes = sizeof(Row), .capacity = kCapacity, .overflow = Overflow::drop_newest}));
  }
  void open_writer() { writer = std::make_unique<SharedRingWriter>(name); }
  std::size_t push(std::span<const Row> rows) { return writer->try_push(std::as_bytes(rows)); }
  std::size_t pop(std::span<Row> rows) {
    Idle idle;
    std::size_t n = 0;
    while ((n = ring->try_pop(std::as_writable_bytes(rows))) == 0) {
      if (!sleeps) {
        idle();
      } else if (!ring->wait(Wait::park, std::chrono::seconds(10))) {
        std::abort();
      }
    }
    return n;
  }
};

struct Pipe {
  static constexpr const char* kName = "pipe";
  static constexpr bool kForks = true;
  int ends[2];
  Pipe() {
    if (pipe(ends) != 0) std::abort();
  }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  void open_reader() {}
  void open_writer() {}
  std::size_t push(std::span<const Row> rows) {
    if (write(ends[1], rows.data(), rows.size_bytes()) != static_cast<ssize_t>(rows.size_bytes())) std::abort();
    return rows.size();
  }
  std::size_t pop(std::span<Row> rows) {
    const ssize_t n = read(ends[0], rows.data(), rows.size_bytes());
    if (n <= 0 || static_cast<std::size_t>(n) % sizeof(Row) != 0) std::abort();  // writes up to a page come whole
    return static_cast<std::size_t>(n) / sizeof(Row);
  }
};

// What the reader's side tells the writer's.
struct Report {
  std::atomic<int> ready;
  std::atomic<std::int64_t> end_ns;
  std::int64_t times[kLatencyRows];
};

Report* report() {
  static void* memory = mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return static_cast<Report*>(memory);
}

// Runs read() on the second core, in a process or a thread, and write() here.
template <class Contender, class Read, class Write>
void both_sides(Read&& read, Write&& write) {
  report()->ready = 0;
  Contender contender;
  const auto read_side = [&] {
    pin(1);
    contender.open_reader();
    report()->ready = 1;
    read(contender);
  };
  const auto write_side = [&] {
    while (report()->ready == 0) std::this_thread::yield();
    contender.open_writer();
    write(contender);
  };
  if (!Contender::kForks) {
    std::thread reader(read_side);
    write_side();
    reader.join();
    return;
  }
  const pid_t reader = fork();
  if (reader == 0) {
    read_side();
    contender.~Contender();
    _exit(0);
  }
  write_side();
  int status = 0;
  if (waitpid(reader, &status, 0) != reader || status != 0) std::abort();
}

template <class Contender, class Rows>
void push_all(Contender& contender, const Rows& rows) {
  Idle idle;
  for (std::size_t done = 0; done < rows.size();) {
    const std::size_t n = contender.push(std::span(rows).subspan(done));
    done += n;
    if (n == 0) idle();
  }
}

// Every row carries its number; rows out of place end the program.
template <class Contender, std::size_t batch>
double rows_per_second(std::int64_t n_rows) {
  std::int64_t begin = 0;
  both_sides<Contender>(
      [&](Contender& contender) {
        std::array<Row, batch> rows;
        for (std::int64_t next = 0; next < n_rows;) {
          const std::size_t n = contender.pop(rows);
          for (std::size_t i = 0; i < n; ++i) {
            if (rows[i][0] != next++) std::abort();
          }
        }
        report()->end_ns = now_ns();
      },
      [&](Contender& contender) {
        begin = now_ns();
        std::array<Row, batch> rows{};
        for (std::int64_t next = 0; next < n_rows; next += static_cast<std::int64_t>(batch)) {
          for (std::size_t i = 0; i < batch; ++i) rows[i][0] = next + static_cast<std::int64_t>(i);
          push_all(contender, rows);
        }
      });
  return static_cast<double>(n_rows) / static_cast<double>(report()->end_ns - begin) * 1e9;
}

template <class Contender>
void latency(std::vector<std::int64_t>& times) {
  both_sides<Contender>(
      [](Contender& contender) {
        for (std::int64_t& time : report()->times) {
          Row row;
          contender.pop({&row, 1});
          time = now_ns() - row[0];
        }
      },
      [](Contender& contender) {
        std::int64_t due = now_ns();
        for (std::size_t i = 0; i < kLatencyRows; ++i) {
          due += kGapNs;
          while (now_ns() < due) kvtape::ring::cpu_relax();
          push_all(contender, std::array<Row, 1>{Row{now_ns()}});
        }
      });
  times.insert(times.end(), std::begin(report()->times), std::end(report()->times));
}

struct Result {
  const char* name;
  std::vector<double> one, many;
  std::vector<std::int64_t> times;
};

template <class... Contenders>
std::vector<Result> measure(int n_rounds) {
  std::vector<Result> results{Result{Contenders::kName, {}, {}, {}}...};
  for (int round = 0; round < n_rounds; ++round) {
    std::size_t i = 0;
    (results[i++].one.push_back(rows_per_second<Contenders, 1>(500'000)), ...);
    i = 0;
    (results[i++].many.push_back(rows_per_second<Contenders, 16>(4'000'000)), ...);
    i = 0;
    (latency<Contenders>(results[i++].times), ...);
  }
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  pin(0);
  const auto results = measure<InProcess, Shared<false>, Shared<true>, Pipe>(argc > 1 ? std::atoi(argv[1]) : 7);
  std::printf("rows of %zu bytes; medians, and times the speed of the ring between threads (quartiles)\n", sizeof(Row));
  std::printf("%-15s %12s %12s %8s %8s %8s %8s\n", "", "one by one", "by 16", "p50 ns", "p99 ns", "p99.9 ns", "max ns");
  for (const Result& result : results) {
    std::printf("%-15s %10.2f M %10.2f M %8lld %8lld %8lld %8lld", result.name, quantile(result.one, 0.5) / 1e6,
                quantile(result.many, 0.5) / 1e6, static_cast<long long>(quantile(result.times, 0.5)),
                static_cast<long long>(quantile(result.times, 0.99)),
                static_cast<long long>(quantile(result.times, 0.999)),
                static_cast<long long>(quantile(result.times, 1.0)));
    print_ratio("one", result.one, results[0].one);
    print_ratio("by 16", result.many, results[0].many);
    std::printf("\n");
  }
  return 0;
}
