#include "cache/block_pool.h"

#include <cassert>
#include <stdexcept>
#include <string>

#include "base/error.h"

namespace kvtape::cache {

BlockPool::BlockPool(std::int32_t n_blocks) {
  if (n_blocks <= 0) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "block pool: wanted at least 1 block, found " + std::to_string(n_blocks));
  }
  ref_counts_.resize(static_cast<std::size_t>(n_blocks));
  free_.reserve(static_cast<std::size_t>(n_blocks));
  for (std::int32_t block = n_blocks - 1; block >= 0; --block) free_.push_back(block);
}

std::optional<std::int32_t> BlockPool::try_allocate() {
  if (free_.empty()) return std::nullopt;
  const std::int32_t block = free_.back();
  free_.pop_back();
  ref_counts_[static_cast<std::size_t>(block)] = 1;
  return block;
}

void BlockPool::retain(std::int32_t block) noexcept {
  assert(ref_count(block) > 0);
  ++ref_counts_[static_cast<std::size_t>(block)];
}

void BlockPool::release(std::int32_t block) noexcept {
  assert(ref_count(block) > 0);
  if (--ref_counts_[static_cast<std::size_t>(block)] == 0) free_.push_back(block);
}

void BlockPool::check_integrity(const std::vector<std::int32_t>& holders) const {
  std::vector<bool> is_free(ref_counts_.size());
  for (const std::int32_t block : free_) {
    if (is_free[static_cast<std::size_t>(block)])
      throw std::logic_error("block " + std::to_string(block) + " is free twice");
    is_free[static_cast<std::size_t>(block)] = true;
  }
  for (std::size_t block = 0; block < ref_counts_.size(); ++block) {
    if (ref_counts_[block] != holders[block] || is_free[block] != (ref_counts_[block] == 0)) {
      throw std::logic_error("block " + std::to_string(block) + " counts " + std::to_string(ref_counts_[block]) +
                             " holders, has " + std::to_string(holders[block]));
    }
  }
}

}  // namespace kvtape::cache
