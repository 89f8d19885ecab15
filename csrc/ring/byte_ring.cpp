#include "ring/byte_ring.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace kvtape::ring {
namespace {

std::size_t checked_words(std::size_t capacity_bytes) {
  check_capacity("byte ring", capacity_bytes, 1);
  if (capacity_bytes < 2 * kWordBytes) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "byte ring: capacity must be at least 16 bytes, found " + std::to_string(capacity_bytes));
  }
  return capacity_bytes / kWordBytes;
}

}  // namespace

template <class Order>
BasicByteRing<Order>::BasicByteRing(std::size_t capacity_bytes, Overflow overflow)
    : overflow_(overflow), words_(checked_words(capacity_bytes), 1, overflow == Overflow::drop_oldest) {}

template <class Order>
std::size_t BasicByteRing<Order>::used_bytes() const noexcept {
  return std::min<std::size_t>(words_.n_slots(), indices_.size()) * kWordBytes;
}

template <class Order>
std::size_t BasicByteRing<Order>::room_bytes() noexcept {
  indices_.refresh_head();
  return free_words() * kWordBytes;
}

template <class Order>
bool BasicByteRing<Order>::try_push(std::span<const std::byte> record) {
  if (record.size() > max_record_bytes()) {
    throw base::Error(base::ErrorCode::invalid_argument, "byte ring: record of " + std::to_string(record.size()) +
                                                             " bytes, at most " + std::to_string(max_record_bytes()) +
                                                             " fit");
  }
  const std::size_t n_words = 1 + words_for(record.size());
  if (free_words() < n_words) indices_.refresh_head();
  while (free_words() < n_words) {
    if (overflow_ == Overflow::drop_newest) {
      indices_.refuse(1);
      return false;
    }
    // The length is this side's own writing. A swap that fails has brought known_head() up to date.
    const std::uint64_t oldest = indices_.known_head();
    (void)indices_.evict_to(oldest + 1 + words_for(length_at(oldest)), 1);
  }
  const std::uint64_t tail = indices_.tail();
  const std::uint64_t length = record.size();
  words_.write(tail, std::as_bytes(std::span(&length, 1)));
  words_.write(tail + 1, record);
  indices_.publish(tail + n_words, 1);
  return true;
}

template <class Order>
bool BasicByteRing<Order>::try_pop(std::vector<std::byte>& record) {
  std::uint64_t head = indices_.head();
  for (;;) {
    const std::uint64_t available = std::min<std::uint64_t>(indices_.available(head, 1), words_.n_slots());
    if (available == 0) return false;
    const std::uint64_t length = length_at(head);
    const std::uint64_t n_words = 1 + words_for(length);
    if (n_words > available) {  // not a length: the producer has dropped this record and writes over it
      head = indices_.head();
      continue;
    }
    record.resize(length);
    words_.read(head + 1, record);
    if (indices_.take(head, head + n_words, 1, overflow_)) return true;
  }
}

template <class Order>
std::uint64_t BasicByteRing<Order>::length_at(std::uint64_t index) noexcept {
  std::uint64_t length = 0;
  words_.read(index, std::as_writable_bytes(std::span(&length, 1)));
  return length;
}

template class BasicByteRing<Orders>;

}  // namespace kvtape::ring
