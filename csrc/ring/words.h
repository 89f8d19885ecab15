#pragma once
// Storage of a ring: 64-bit words, each read and written as one relaxed atomic. A consumer may so read a slot while a
// producer that drops the oldest overwrites it; the copy is garbage, head has moved, and the garbage is thrown away.
// Relaxed word accesses compile to plain moves; what orders them is in indices.h.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"

namespace kvtape::ring {

constexpr std::size_t kWordBytes = sizeof(std::uint64_t);

constexpr std::size_t words_for(std::size_t n_bytes) noexcept {
  return n_bytes / kWordBytes + (n_bytes % kWordBytes != 0);
}

class Words {
 public:
  Words(std::size_t n_slots, std::size_t words_per_slot)
      : words_(std::make_unique<std::atomic<std::uint64_t>[]>(n_slots * words_per_slot)),
        mask_(n_slots - 1),
        slot_words_(words_per_slot) {}

  [[nodiscard]] std::size_t n_slots() const noexcept { return mask_ + 1; }

  // Writes bytes into slots index, index + 1, ...; a last word that is not full is padded with zeros.
  void write(std::uint64_t index, std::span<const std::byte> bytes) noexcept {
    each_run(index, bytes.size(), [&](std::atomic<std::uint64_t>* words, std::size_t offset, std::size_t n_bytes) {
      const std::byte* from = bytes.data() + offset;
      std::size_t i = 0;
      for (; i < n_bytes / kWordBytes; ++i) {
        std::uint64_t word;
        std::memcpy(&word, from + i * kWordBytes, kWordBytes);
        words[i].store(word, std::memory_order_relaxed);
      }
      if (const std::size_t rest = n_bytes % kWordBytes; rest != 0) {
        std::uint64_t word = 0;
        std::memcpy(&word, from + i * kWordBytes, rest);
        words[i].store(word, std::memory_order_relaxed);
      }
    });
  }

  void read(std::uint64_t index, std::span<std::byte> bytes) const noexcept {
    each_run(index, bytes.size(),
             [&](const std::atomic<std::uint64_t>* words, std::size_t offset, std::size_t n_bytes) {
               std::byte* to = bytes.data() + offset;
               std::size_t i = 0;
               for (; i < n_bytes / kWordBytes; ++i) {
                 const std::uint64_t word = words[i].load(std::memory_order_relaxed);
                 std::memcpy(to + i * kWordBytes, &word, kWordBytes);
               }
               if (const std::size_t rest = n_bytes % kWordBytes; rest != 0) {
                 const std::uint64_t word = words[i].load(std::memory_order_relaxed);
                 std::memcpy(to + i * kWordBytes, &word, rest);
               }
             });
  }

 private:
  // Cuts n_bytes from slot `index` on into at most two runs: up to the end of the storage, and from its beginning.
  template <class F>
  void each_run(std::uint64_t index, std::size_t n_bytes, F&& f) const noexcept {
    const std::size_t slot_bytes = slot_words_ * kWordBytes;
    const std::size_t slot = index & mask_;
    const std::size_t until_end = (n_slots() - slot) * slot_bytes;
    const std::size_t first = n_bytes < until_end ? n_bytes : until_end;
    f(words_.get() + slot * slot_words_, 0, first);
    if (first < n_bytes) f(words_.get(), first, n_bytes - first);
  }

  std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
  std::size_t mask_;
  std::size_t slot_words_;
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
