#pragma once
// Storage of a ring: 64-bit words. Where a producer drops the oldest, a consumer may read a slot while it is overwritten; the
// copy is garbage, head has moved, and the garbage is thrown away. So there each word is read and written as one relaxed
// atomic. Elsewhere a slot belongs to one side at a time and is copied as a block. What orders both is in indices.h.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/aligned_buffer.h"
#include "base/error.h"

namespace kvtape::ring {

constexpr std::size_t kWordBytes = sizeof(std::uint64_t);

constexpr std::size_t words_for(std::size_t n_bytes) noexcept {
  return n_bytes / kWordBytes + (n_bytes % kWordBytes != 0);
}

class Words {
 public:
  // contended: a slot may be overwritten while it is read.
  Words(std::size_t n_slots, std::size_t words_per_slot, bool contended)
      : words_(n_slots * words_per_slot), mask_(n_slots - 1), slot_words_(words_per_slot), contended_(contended) {}

  [[nodiscard]] std::size_t n_slots() const noexcept { return mask_ + 1; }

  // Writes bytes into slots index, index + 1, ...; what a last word that is not full holds besides is unspecified.
  void write(std::uint64_t index, std::span<const std::byte> bytes) noexcept {
    each_run(index, bytes.size(), [&](std::size_t first, std::size_t offset, std::size_t n_bytes) {
      std::uint64_t* words = words_.data() + first;
      const std::byte* from = bytes.data() + offset;
      if (!contended_) {
        std::memcpy(words, from, n_bytes);
        return;
      }
      for (std::size_t i = 0; i < n_bytes; i += kWordBytes) {
        std::uint64_t word = 0;
        std::memcpy(&word, from + i, std::min(kWordBytes, n_bytes - i));
        std::atomic_ref(words[i / kWordBytes]).store(word, std::memory_order_relaxed);
      }
    });
  }

  void read(std::uint64_t index, std::span<std::byte> bytes) noexcept {
    each_run(index, bytes.size(), [&](std::size_t first, std::size_t offset, std::size_t n_bytes) {
      std::uint64_t* words = words_.data() + first;
      std::byte* to = bytes.data() + offset;
      if (!contended_) {
        std::memcpy(to, words, n_bytes);
        return;
      }
      for (std::size_t i = 0; i < n_bytes; i += kWordBytes) {
        const std::uint64_t word = std::atomic_ref(words[i / kWordBytes]).load(std::memory_order_relaxed);
        std::memcpy(to + i, &word, std::min(kWordBytes, n_bytes - i));
      }
    });
  }

 private:
  // Cuts n_bytes from slot `index` on into at most two runs, none of them empty: up to the end of the storage, and from
  // its beginning.
  template <class F>
  void each_run(std::uint64_t index, std::size_t n_bytes, F&& f) const noexcept {
    const std::size_t slot_bytes = slot_words_ * kWordBytes;
    const std::size_t slot = index & mask_;
    const std::size_t until_end = (n_slots() - slot) * slot_bytes;
    const std::size_t first = n_bytes < until_end ? n_bytes : until_end;
    if (first > 0) f(slot * slot_words_, 0, first);  // an empty record has no address that memcpy may be given
    if (first < n_bytes) f(0, first, n_bytes - first);
  }

  base::AlignedBuffer<std::uint64_t> words_;  // rows of 64 bytes are whole cache lines
  std::size_t mask_;
  std::size_t slot_words_;
  bool contended_;
};

// Checks a capacity: a power of two from 1 up, and no more than 2^40 bytes of storage.
inline void check_capacity(const char* what, std::size_t capacity, std::size_t bytes_each) {
  constexpr std::size_t kMaxBytes = std::size_t{1} << 40;
  if (!std::has_single_bit(capacity) || bytes_each == 0 || bytes_each > kMaxBytes ||
      capacity > kMaxBytes / bytes_each) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      std::string(what) +
                          ": capacity must be a power of two and the storage 1 B to 1 TiB, found capacity " +
                          std::to_string(capacity) + " of " + std::to_string(bytes_each) + " bytes each");
  }
}

}  // namespace kvtape::ring
