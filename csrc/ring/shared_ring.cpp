#include "ring/shared_ring.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"

namespace kvtape::ring {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxShown = 200;                  // of a name
constexpr std::chrono::milliseconds kLongestSleep{50};  // a writer may die before it wakes us

ErrorCode code_of(int error) noexcept {
  switch (error) {
    case KVTAPE_RING_NOT_FOUND:
    case KVTAPE_RING_CLOSED: return ErrorCode::not_found;
    case KVTAPE_RING_BAD_NAME:
    case KVTAPE_RING_ROW_TYPE: return ErrorCode::invalid_argument;
    case KVTAPE_RING_BUSY: return ErrorCode::busy;
    default: return ErrorCode::io;
  }
}

[[noreturn]] void refuse(const std::string& name, int error) {
  std::string message = "shared ring " + base::quoted(name, kMaxShown) + ": " + kvtape_ring_strerror(error);
  if (error == KVTAPE_RING_SYSTEM) message += std::string(": ") + std::strerror(errno);
  throw Error(code_of(error), message);
}

void check_owner(const std::string& name, pid_t owner) {
  if (owner == getpid()) return;
  throw Error(owner == 0 ? ErrorCode::invalid_argument : ErrorCode::closed,
              "shared ring " + base::quoted(name, kMaxShown) +
                  (owner == 0 ? " is closed" : " belongs to the process that this one was forked from"));
}

std::string memory_name(const std::string& name) {
  if (name.size() != std::strlen(name.c_str()) || !kvtape_ring_is_name(name.c_str())) {
    refuse(name, KVTAPE_RING_BAD_NAME);
  }
  return "kvtape." + name;
}

kvtape_ring_header& header_of(const base::SharedMemory& memory) noexcept {
  return *reinterpret_cast<kvtape_ring_header*>(memory.bytes().data());
}

kvtape_ring_shape shape_of(const SharedRingOptions& options) noexcept {
  return {.row_bytes = options.row_bytes,
          .capacity = options.capacity,
          .row_type = options.row_type,
          .drop_oldest = options.overflow == Overflow::drop_oldest};
}

base::SharedMemory make_memory(const SharedRingOptions& options) {
  const std::size_t row_bytes = options.row_bytes, capacity = options.capacity;
  if (row_bytes == 0 || row_bytes % 8 != 0 || row_bytes > KVTAPE_RING_MAX_ROW_BYTES || !std::has_single_bit(capacity) ||
      capacity > KVTAPE_RING_MAX_BYTES / row_bytes) {
    throw Error(
        ErrorCode::invalid_argument,
        "shared ring: capacity must be a power of two, rows a multiple of 8 up to 65536 bytes, all of it at most "
        "1 TiB; found capacity " +
            std::to_string(capacity) + " of " + std::to_string(row_bytes) + " bytes");
  }
  base::SharedMemory memory(KVTAPE_RING_HEADER_BYTES + capacity * row_bytes);
  kvtape_ring_header& header = header_of(memory);
  std::memcpy(header.magic, KVTAPE_RING_MAGIC, sizeof header.magic);
  header.version = KVTAPE_RING_VERSION;
  header.row_type = options.row_type;
  header.row_bytes = row_bytes;
  header.capacity = capacity;
  header.overflow = options.overflow == Overflow::drop_oldest ? KVTAPE_RING_DROP_OLDEST : KVTAPE_RING_DROP_NEWEST;
  header.pid_namespace = kvtape_ring_pid_namespace();
  if (kvtape_ring_claim(&header.reader) != KVTAPE_RING_OK) refuse("", KVTAPE_RING_SYSTEM);
  return memory;
}

}  // namespace

SharedRing SharedRing::create(const std::string& name, const SharedRingOptions& options) {
  base::SharedMemory memory = make_memory(options);
  while (!memory.try_publish(memory_name(name))) {
    try {
      resume(name).close();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::not_found) throw;  // else its name went just now
    }
  }
  return {name, std::move(memory), shape_of(options)};
}

SharedRing SharedRing::resume(const std::string& name) {
  base::SharedMemory memory(memory_name(name));
  kvtape_ring_shape shape;
  if (const int error = kvtape_ring_check(memory.bytes().data(), memory.bytes().size(), &shape)) refuse(name, error);
  if (const int error = kvtape_ring_claim(&header_of(memory).reader)) refuse(name, error);
  SharedRing ring(name, std::move(memory), shape);
  if (__atomic_load_n(&ring.header().closed, __ATOMIC_ACQUIRE) != 0) {  // its reader died on the way out
    ring.close();
    refuse(name, KVTAPE_RING_CLOSED);
  }
  return ring;
}

SharedRing::SharedRing(std::string name, base::SharedMemory memory, const kvtape_ring_shape& shape)
    : name_(std::move(name)), memory_(std::move(memory)), shape_(shape), process_id_(getpid()) {
  popped_ = __atomic_load_n(&header().popped, __ATOMIC_RELAXED);
  dropped_ = __atomic_load_n(&header().dropped, __ATOMIC_RELAXED);
}

SharedRing::SharedRing(SharedRing&& other) noexcept
    : name_(std::move(other.name_)),
      memory_(std::move(other.memory_)),
      shape_(other.shape_),
      popped_(other.popped_),
      dropped_(other.dropped_),
      process_id_(other.process_id_.exchange(0)) {}

kvtape_ring_header& SharedRing::header() const noexcept { return header_of(memory_); }

void SharedRing::check_process() const { check_owner(name_, process_id_); }

bool SharedRing::has_writer() const noexcept {
  return kvtape_ring_alive(__atomic_load_n(&header().writer, __ATOMIC_ACQUIRE)) != 0;
}

// The first row from `position` on that is whole when slots below end - capacity may be overwritten. Counters run over 2^64, so
// what is compared is their difference.
std::uint64_t SharedRing::oldest(std::uint64_t position, std::uint64_t end) const noexcept {
  const std::uint64_t whole = end - shape_.capacity;
  return static_cast<std::int64_t>(whole - position) > 0 ? whole : position;
}

std::size_t SharedRing::try_pop(std::span<std::byte> out) {
  const std::uint64_t n_wanted = out.size() / shape_.row_bytes;
  const std::uint64_t position = popped_ + dropped_;
  for (int n_tries = 0; n_tries < 64; ++n_tries) {  // a bound, since a stranger might overtake us for ever
    // In this order tail is at least what it was when claimed was written: claimed is at most a capacity ahead.
    const std::uint64_t claimed = __atomic_load_n(&header().claimed, __ATOMIC_RELAXED);
    if (shape_.drop_oldest) kvtape_ring_fence();                                      // (C)
    const std::uint64_t tail = __atomic_load_n(&header().tail, KVTAPE_RING_OBSERVE);  // pairs with (A)
    const std::uint64_t lag = tail - position;
    const bool fine = shape_.drop_oldest ? static_cast<std::int64_t>(lag) >= 0 &&
                                               static_cast<std::int64_t>(claimed - tail - shape_.capacity) <= 0
                                         : lag <= shape_.capacity;
    if (!fine) {
      throw Error(ErrorCode::io, "shared ring " + base::quoted(name_, kMaxShown) + ": the writer says that it pushed " +
                                     std::to_string(tail) + " rows and overwrites up to " + std::to_string(claimed) +
                                     ", " + std::to_string(position) + " are read of a ring of " +
                                     std::to_string(shape_.capacity));
    }
    std::uint64_t first = position;
    if (shape_.drop_oldest) first = oldest(oldest(position, tail), claimed);
    const std::uint64_t n = std::min(n_wanted, tail - first);
    if (n == 0) return 0;
    read(first, n, out.data());
    std::uint64_t n_gone = 0;
    if (shape_.drop_oldest) {
      kvtape_ring_fence();  // (C) after the copy
      n_gone = oldest(first, __atomic_load_n(&header().claimed, __ATOMIC_RELAXED)) - first;
      if (n_gone >= n) continue;
      std::memmove(out.data(), out.data() + n_gone * shape_.row_bytes, (n - n_gone) * shape_.row_bytes);
    }
    dropped_ += first + n_gone - position;
    popped_ += n - n_gone;
    __atomic_store_n(&header().dropped, dropped_, __ATOMIC_RELAXED);
    __atomic_store_n(&header().popped, popped_,
                     KVTAPE_RING_VACATE);  // (B) the slots are read, the writer may have them
    return n - n_gone;
  }
  return 0;
}

void SharedRing::read(std::uint64_t first, std::uint64_t n_rows, std::byte* out) const noexcept {
  const auto* slots = reinterpret_cast<const std::uint64_t*>(memory().data() + KVTAPE_RING_HEADER_BYTES);
  const std::uint64_t row_words = shape_.row_bytes / 8, n_slot_words = shape_.capacity * row_words;
  std::uint64_t at = (first & (shape_.capacity - 1)) * row_words;
  for (std::uint64_t n_left = n_rows * row_words; n_left > 0; at = 0) {  // at most twice
    const std::uint64_t run = std::min(n_left, n_slot_words - at);
    for (std::uint64_t i = 0; i < run; ++i, out += 8) {
      const std::uint64_t word = __atomic_load_n(&slots[at + i], __ATOMIC_RELAXED);
      std::memcpy(out, &word, 8);
    }
    n_left -= run;
  }
}

std::size_t SharedRing::size() const noexcept {
  const Counters now = counters();
  return std::min<std::uint64_t>(now.pushed - now.popped - now.dropped, shape_.capacity);
}

Counters SharedRing::counters() const noexcept {
  const std::uint64_t popped = __atomic_load_n(&header().popped, __ATOMIC_RELAXED);
  const std::uint64_t dropped = __atomic_load_n(&header().dropped, __ATOMIC_RELAXED);
  const std::uint64_t claimed = __atomic_load_n(&header().claimed, __ATOMIC_RELAXED);
  const std::uint64_t tail = __atomic_load_n(&header().tail, __ATOMIC_RELAXED);
  std::uint64_t first = popped + dropped;
  if (shape_.drop_oldest)
    first = oldest(oldest(first, tail), claimed);  // some are gone, and the reader has not met the gap
  return {.pushed = tail,
          .popped = popped,
          .dropped = first - popped,
          .refused = __atomic_load_n(&header().refused, __ATOMIC_RELAXED)};
}

bool SharedRing::wait(Wait policy, std::chrono::nanoseconds timeout) noexcept {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (int n_spins = 1;; ++n_spins) {
    const std::uint64_t tail = __atomic_load_n(&header().tail, __ATOMIC_RELAXED);
    if (__atomic_load_n(&header().closed, __ATOMIC_RELAXED) != 0) return false;
    if (size() > 0) return true;
    if (n_spins % 64 != 0 && (policy == Wait::spin || n_spins < 64)) {  // a microsecond, before any system call
      cpu_relax();
      continue;
    }
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) return false;
    if (policy == Wait::yield) std::this_thread::yield();
    if (policy == Wait::park) park(tail, std::min<std::chrono::nanoseconds>(left, kLongestSleep));
  }
}

// Sleeps until the writer moves tail, at most `timeout`.
void SharedRing::park(std::uint64_t seen, std::chrono::nanoseconds timeout) noexcept {
  std::uint32_t& asleep = header().asleep;
  __atomic_store_n(&asleep, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&header().tail, __ATOMIC_SEQ_CST) == seen) {  // (D)
    const timespec limit{.tv_sec = 0, .tv_nsec = timeout.count()};
    syscall(SYS_futex, &asleep, FUTEX_WAIT, 1, &limit, nullptr, 0);
  }
  __atomic_store_n(&asleep, 0, __ATOMIC_RELAXED);
}

void SharedRing::close() noexcept {
  if (process_id_ != getpid()) return;  // closed, or not ours: what a forked child does must not end its parent's ring
  process_id_ = 0;
  __atomic_store_n(&header().closed, 1, __ATOMIC_RELEASE);
  memory_.remove_name(memory_name(name_));  // before the ring is let go: who holds it holds the name
  kvtape_ring_release(&header().reader);
}

SharedRingWriter::SharedRingWriter(const std::string& name) : name_(name), process_id_(getpid()) {
  (void)memory_name(name);
  if (const int error = kvtape_ring_open(&writer_, name.c_str(), KVTAPE_ROW_ANY, 0)) refuse(name, error);
}

void SharedRingWriter::check_process() const { check_owner(name_, process_id_); }

std::size_t SharedRingWriter::try_push(std::span<const std::byte> rows) {
  const long long n = kvtape_ring_push(&writer_, rows.data(), rows.size() / writer_.shape.row_bytes);
  if (n < 0) refuse(name_, static_cast<int>(n));
  return static_cast<std::size_t>(n);
}

void SharedRingWriter::close() noexcept {
  kvtape_ring_close(&writer_);
  if (process_id_ == getpid()) process_id_ = 0;
}

}  // namespace kvtape::ring
