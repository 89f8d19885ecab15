#pragma once
// Bounded queue of byte records of any length between one producer thread and one consumer thread, without locks.
// A record lies in the ring as one word with its length and then its bytes, rounded up to whole words:
//
//   | length | bytes ... padding | length | bytes ...      one slot a word; a record may run over the end to the beginning

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ring/indices.h"
#include "ring/words.h"

namespace kvtape::ring {

template <class Order = Orders>
class BasicByteRing {
 public:
  // capacity_bytes: storage, a power of two of at least 16. Throws Error{invalid_argument}.
  explicit BasicByteRing(std::size_t capacity_bytes, Overflow overflow = Overflow::drop_newest);

  BasicByteRing(const BasicByteRing&) = delete;
  BasicByteRing& operator=(const BasicByteRing&) = delete;

  [[nodiscard]] std::size_t capacity_bytes() const noexcept { return words_.n_slots() * kWordBytes; }
  [[nodiscard]] std::size_t max_record_bytes() const noexcept { return capacity_bytes() - kWordBytes; }
  [[nodiscard]] std::size_t used_bytes() const noexcept;                            // lengths and padding included
  [[nodiscard]] Counters counters() const noexcept { return indices_.counters(); }  // in records

  // Producer: bytes of storage free right now; a record of n bytes takes 8 + n, rounded up to 8.
  [[nodiscard]] std::size_t room_bytes() noexcept;

  // Producer: false where the record was refused for want of room. Throws Error{invalid_argument} for a record longer than
  // max_record_bytes(), which can never fit.
  [[nodiscard]] bool try_push(std::span<const std::byte> record);

  // Consumer: moves the oldest record into `record`; false where there is none.
  [[nodiscard]] bool try_pop(std::vector<std::byte>& record);

 private:
  [[nodiscard]] std::uint64_t length_at(std::uint64_t index) noexcept;
  [[nodiscard]] std::size_t free_words() const noexcept {
    return words_.n_slots() - (indices_.tail() - indices_.known_head());
  }

  Indices<Order> indices_;  // in words
  Overflow overflow_;
  Words words_;
};

extern template class BasicByteRing<Orders>;
using ByteRing = BasicByteRing<>;

}  // namespace kvtape::ring
