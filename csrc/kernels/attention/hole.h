#pragma once
// Positions [begin, end) that have left the middle of a sequence: no row sees them. Cache blocks that lie wholly inside have
// no entry in the block table: there the blocks before the hole are followed by those behind it.

#include <cstdint>

namespace kvtape::kernels {

struct Hole {
  std::int32_t begin = 0, end = 0;  // empty where equal

  [[nodiscard]] bool empty() const noexcept { return begin == end; }

  // Entries of a table for blocks [0, block), which is the index of this block's own entry if it has one.
  [[nodiscard]] std::int32_t n_entries(std::int32_t block, std::int32_t block_size) const noexcept {
    if (empty()) return block;
    const std::int32_t first = (begin + block_size - 1) / block_size, last = end / block_size;  // absent: [first, last)
    if (block <= first || last <= first) return block;
    return block < last ? first : block - (last - first);
  }

  // Blocks that the first n entries of a table reach to.
  [[nodiscard]] std::int32_t n_blocks(std::int32_t n_entries, std::int32_t block_size) const noexcept {
    const std::int32_t last = end / block_size, n_absent = last - this->n_entries(last, block_size);
    return n_entries * block_size <= begin ? n_entries : n_entries + n_absent;
  }

  bool operator==(const Hole&) const = default;
};

}  // namespace kvtape::kernels
