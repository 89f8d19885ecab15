#pragma once
// The ring of kvtape_shared_ring.h, where layout, memory orders and the argument for them are: here is the side that makes the
// memory and reads. What is found there was written by a stranger: it is checked before use, and the worst that comes of it is
// an error or wrong rows.

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/shared_memory.h"
#include "ring/indices.h"
#include "ring/kvtape_shared_ring.h"
#include "ring/wait.h"

namespace kvtape::ring {

struct SharedRingOptions {
  std::uint32_t row_type = KVTAPE_ROW_ANY;
  std::size_t row_bytes = 0;
  std::size_t capacity = 4096;  // rows, a power of two
  Overflow overflow = Overflow::drop_newest;
};

// Reader. One thread at a time may pop; wait() may run beside it. Not after close(), nor in a process that was forked from the
// owner: check_process() tells, at the price of a system call.
class SharedRing {
 public:
  // A new, empty ring. One of this name whose reader has died is closed, so that its writer looks for this one. Throws
  // invalid_argument; busy where the name's reader lives; io.
  static SharedRing create(const std::string& name, const SharedRingOptions& options);

  // The ring of a reader that has died, with the rows and counters in it. Throws not_found, busy where the reader lives, io.
  static SharedRing resume(const std::string& name);

  SharedRing(SharedRing&& other) noexcept;
  SharedRing& operator=(SharedRing&&) = delete;
  ~SharedRing() { close(); }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const kvtape_ring_shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return memory_.bytes(); }
  [[nodiscard]] std::size_t item_bytes() const noexcept { return shape_.row_bytes; }
  [[nodiscard]] bool has_writer() const noexcept;

  // Throws invalid_argument after close(), closed in a process that was forked from the owner.
  void check_process() const;

  // Fills `out` with whole rows, oldest first; returns how many there were. Throws io where the writer's counters cannot be.
  std::size_t try_pop(std::span<std::byte> out);

  // Waits for rows: whether there are any. False after `timeout`, or close() by another thread.
  [[nodiscard]] bool wait(Wait policy, std::chrono::nanoseconds timeout) noexcept;

  // Exact while the writer is quiet.
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] Counters counters() const noexcept;

  // Leaves the ring and takes its name away; writers are told at their next push.
  void close() noexcept;

 private:
  SharedRing(std::string name, base::SharedMemory memory, const kvtape_ring_shape& shape);

  [[nodiscard]] kvtape_ring_header& header() const noexcept;
  [[nodiscard]] std::uint64_t oldest(std::uint64_t position, std::uint64_t end) const noexcept;
  void read(std::uint64_t first, std::uint64_t n_rows, std::byte* out) const noexcept;
  void park(std::uint64_t seen, std::chrono::nanoseconds timeout) noexcept;

  std::string name_;
  base::SharedMemory memory_;
  kvtape_ring_shape shape_;
  std::uint64_t popped_, dropped_;
  std::atomic<pid_t> process_id_;  // 0 once closed
};

// Writer: kvtape_ring_writer with errors as exceptions. Not after close(), nor in a forked process, as above.
class SharedRingWriter {
 public:
  // Throws not_found, busy where another writer lives, io where the memory is no ring that this version can use.
  explicit SharedRingWriter(const std::string& name);
  SharedRingWriter(const SharedRingWriter&) = delete;
  SharedRingWriter& operator=(const SharedRingWriter&) = delete;
  ~SharedRingWriter() { close(); }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const kvtape_ring_shape& shape() const noexcept { return writer_.shape; }
  [[nodiscard]] std::size_t item_bytes() const noexcept { return writer_.shape.row_bytes; }

  void check_process() const;  // as SharedRing's

  // Returns how many rows were taken, always the first ones. Throws not_found where the reader has closed the ring, io where
  // its counters cannot be.
  std::size_t try_push(std::span<const std::byte> rows);
  [[nodiscard]] std::size_t room() noexcept { return kvtape_ring_room(&writer_); }
  [[nodiscard]] bool has_reader() const noexcept { return kvtape_ring_has_reader(&writer_) != 0; }
  [[nodiscard]] std::uint64_t n_pushed() const noexcept { return writer_.tail; }  // those of earlier writers too

  void close() noexcept;

 private:
  std::string name_;
  kvtape_ring_writer writer_;
  pid_t process_id_;
};

}  // namespace kvtape::ring
