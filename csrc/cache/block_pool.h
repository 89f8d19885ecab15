#pragma once
// Ids of KV blocks and how many holders each has. The memory behind an id is the runner's.

#include <cstdint>
#include <optional>
#include <vector>

namespace kvtape::cache {

class BlockPool {
 public:
  explicit BlockPool(std::int32_t n_blocks);

  // A block with one holder, or nothing where none is free.
  [[nodiscard]] std::optional<std::int32_t> try_allocate();
  void retain(std::int32_t block) noexcept;
  void release(std::int32_t block) noexcept;  // the last holder frees it

  [[nodiscard]] std::int32_t ref_count(std::int32_t block) const noexcept {
    return ref_counts_[static_cast<std::size_t>(block)];
  }
  [[nodiscard]] std::int32_t n_blocks() const noexcept { return static_cast<std::int32_t>(ref_counts_.size()); }
  [[nodiscard]] std::int32_t n_free() const noexcept { return static_cast<std::int32_t>(free_.size()); }

  // Throws std::logic_error unless `holders[b]` is each block's count and the free list holds exactly the blocks without holders.
  void check_integrity(const std::vector<std::int32_t>& holders) const;

 private:
  std::vector<std::int32_t> ref_counts_;  // [n_blocks]
  std::vector<std::int32_t> free_;        // a stack, so that the warmest block is used next
};

}  // namespace kvtape::cache
