#pragma once
// Bounded queue of fixed-size items between one producer thread and one consumer thread, without locks.
// Items are bytes: their size is given at run time, so that one ring serves C++ structs and numpy rows alike.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ring/indices.h"
#include "ring/words.h"

namespace kvtape::ring {

template <class Order = Orders>
class BasicSpscRing {
 public:
  // capacity: items, a power of two. Throws Error{invalid_argument}.
  BasicSpscRing(std::size_t capacity, std::size_t item_bytes, Overflow overflow = Overflow::drop_newest)
      : item_bytes_(item_bytes),
        overflow_(overflow),
        slots_(checked(capacity, item_bytes), words_for(item_bytes), overflow == Overflow::drop_oldest) {}

  BasicSpscRing(const BasicSpscRing&) = delete;
  BasicSpscRing& operator=(const BasicSpscRing&) = delete;

  [[nodiscard]] std::size_t capacity() const noexcept { return slots_.n_slots(); }
  [[nodiscard]] std::size_t item_bytes() const noexcept { return item_bytes_; }
  [[nodiscard]] Overflow overflow() const noexcept { return overflow_; }
  [[nodiscard]] std::size_t size() const noexcept { return std::min(capacity(), std::size_t{indices_.size()}); }
  [[nodiscard]] Counters counters() const noexcept { return indices_.counters(); }

  // Producer: items free right now; a push of so many drops and refuses nothing.
  [[nodiscard]] std::size_t room() noexcept { return capacity() - (indices_.tail() - indices_.refresh_head()); }

  // Producer: takes whole items, in order; returns how many were taken. With drop_oldest that is all of them.
  std::size_t try_push(std::span<const std::byte> items) noexcept {
    const std::size_t n_offered = items.size() / item_bytes_;
    if (overflow_ == Overflow::drop_oldest) {
      for (std::size_t done = 0; done < n_offered;) {
        const std::size_t n = std::min(n_offered - done, capacity());
        make_room(n);
        write(items.subspan(done * item_bytes_, n * item_bytes_), n);
        done += n;
      }
      return n_offered;
    }
    std::size_t free = capacity() - (indices_.tail() - indices_.known_head());
    if (free < n_offered) free = room();
    const std::size_t n = std::min(n_offered, free);
    if (n > 0) write(items.first(n * item_bytes_), n);
    if (n < n_offered) indices_.refuse(n_offered - n);
    return n;
  }

  // Consumer: fills `out` with whole items, oldest first; returns how many there were.
  std::size_t try_pop(std::span<std::byte> out) noexcept {
    const std::size_t n_wanted = out.size() / item_bytes_;
    std::uint64_t head = indices_.head();
    while (n_wanted > 0) {
      const std::uint64_t available = indices_.available(head, n_wanted);
      if (available == 0) return 0;
      const std::uint64_t end = head + std::min<std::uint64_t>({n_wanted, available, capacity()});
      const std::uint64_t begin = head;
      read(begin, out.first((end - begin) * item_bytes_));
      while (head < end) {
        const std::uint64_t n = end - head;
        if (indices_.take(head, end, n, overflow_)) {
          // The producer took the first ones while they were copied; the rest is whole, since head was still at or below it.
          if (n < end - begin) std::memmove(out.data(), out.data() + (end - begin - n) * item_bytes_, n * item_bytes_);
          return n;
        }
      }  // all that was copied is gone: again from the new head
    }
    return 0;
  }

 private:
  static std::size_t checked(std::size_t capacity, std::size_t item_bytes) {
    check_capacity("ring", capacity, words_for(item_bytes) * kWordBytes);
    return capacity;
  }

  void make_room(std::size_t n) noexcept {
    const std::uint64_t tail = indices_.tail();
    if (capacity() - (tail - indices_.known_head()) >= n) return;
    indices_.refresh_head();
    const std::uint64_t wanted = tail + n - capacity();  // no further than tail, since n <= capacity
    while (indices_.known_head() < wanted && !indices_.evict_to(wanted, wanted - indices_.known_head())) {
    }
  }

  void write(std::span<const std::byte> items, std::size_t n) noexcept {
    const std::uint64_t tail = indices_.tail();
    if (item_bytes_ % kWordBytes == 0) {
      slots_.write(tail, items);
    } else {
      for (std::size_t i = 0; i < n; ++i) slots_.write(tail + i, items.subspan(i * item_bytes_, item_bytes_));
    }
    indices_.publish(tail + n, n);
  }

  void read(std::uint64_t head, std::span<std::byte> items) noexcept {
    if (item_bytes_ % kWordBytes == 0) {
      slots_.read(head, items);
    } else {
      for (std::size_t i = 0; i * item_bytes_ < items.size(); ++i) {
        slots_.read(head + i, items.subspan(i * item_bytes_, item_bytes_));
      }
    }
  }

  Indices<Order> indices_;
  std::size_t item_bytes_;
  Overflow overflow_;
  Words slots_;
};

using SpscRing = BasicSpscRing<>;

}  // namespace kvtape::ring
