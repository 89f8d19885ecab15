#include "engine/sequence.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

#include "engine/generation.h"

namespace kvtape::engine {

std::string Sequence::lost_message() const {
  return "engine: sequence " + std::to_string(id) +
         " has lost its KV, and it has a hole: append the tokens that it has left to a new sequence";
}

WorkClass Sequence::work_class() const noexcept { return generation ? generation->work() : work; }

SequenceCache::SequenceCache(std::int32_t n_blocks, std::int32_t block_size)
    : pool_(n_blocks), index_(pool_, block_size), block_size_(block_size) {}

std::span<const std::int32_t> SequenceCache::block_ids(const Sequence& sequence, std::size_t block) const noexcept {
  const auto size = static_cast<std::size_t>(block_size_);
  return std::span(sequence.tokens).subspan(block * size, size);
}

cache::PrefixIndex::Node SequenceCache::last_node(const Sequence& sequence) const noexcept {
  return sequence.nodes.empty() ? cache::PrefixIndex::kRoot : sequence.nodes.back();
}

std::optional<std::int32_t> SequenceCache::try_take() {
  for (;;) {
    if (const auto block = pool_.try_allocate()) return block;
    if (!index_.try_evict()) return std::nullopt;
  }
}

void SequenceCache::adopt(Sequence& sequence) {
  // Only at a block's edge, and only where everything before it stands in the index; so never behind a hole.
  while (sequence.n_cached == static_cast<std::int32_t>(sequence.nodes.size()) * block_size_ &&
         sequence.blocks.size() == sequence.nodes.size() && sequence.n_cached + 1 < sequence.n_tokens()) {
    const auto n_left = static_cast<std::size_t>(sequence.n_tokens() - 1 - sequence.n_cached);
    const auto ids = std::span(sequence.tokens).subspan(static_cast<std::size_t>(sequence.n_cached));
    const auto match =
        index_.find_longest(last_node(sequence), ids.first(std::min(n_left, static_cast<std::size_t>(block_size_))));
    if (!match) return;
    pool_.retain(match->block);
    sequence.blocks.push_back(match->block);
    if (match->n_equal == block_size_) sequence.nodes.push_back(match->node);
    sequence.n_cached += match->n_equal;
    sequence.n_reached = std::max(sequence.n_reached, sequence.n_cached);
  }
}

bool SequenceCache::try_prepare(Sequence& sequence, std::int32_t n, std::vector<model::BlockPair>& copies) {
  const std::size_t n_before = sequence.blocks.size();
  while (sequence.blocks.size() < n_entries(sequence, sequence.n_cached + n)) {
    const auto block = try_take();
    if (!block) {
      release_from(sequence, n_before);
      return false;
    }
    sequence.blocks.push_back(*block);
  }
  const std::size_t first = entry_of(sequence, sequence.n_cached);
  if (pool_.ref_count(sequence.blocks[first]) == 1) return true;
  const auto own = try_take();
  if (!own) {
    release_from(sequence, n_before);
    return false;
  }
  copies.push_back({sequence.blocks[first], *own});
  pool_.release(sequence.blocks[first]);
  sequence.blocks[first] = *own;
  sequence.nodes.resize(std::min(sequence.nodes.size(), first));
  return true;
}

bool SequenceCache::try_extend(Sequence& sequence, std::int32_t n) {
  if (entry_of(sequence, n) < sequence.blocks.size()) return true;
  const auto block = pool_.try_allocate();
  if (block) sequence.blocks.push_back(*block);
  return block.has_value();
}

void SequenceCache::trim(Sequence& sequence) { release_from(sequence, n_entries(sequence, sequence.n_cached)); }

void SequenceCache::commit(Sequence& sequence, std::int32_t n) {
  sequence.n_cached += n;
  if (sequence.n_cached > sequence.n_reached) {
    sequence.n_computed += sequence.n_cached - sequence.n_reached;
    sequence.n_reached = sequence.n_cached;
  }
  while (sequence.hole.empty() &&
         (static_cast<std::int32_t>(sequence.nodes.size()) + 1) * block_size_ <= sequence.n_cached) {
    const std::size_t i = sequence.nodes.size();
    const auto entry = index_.insert(last_node(sequence), block_ids(sequence, i), sequence.blocks[i]);
    if (entry.block != sequence.blocks[i]) {  // somebody was first; same ids, so the same bits
      pool_.retain(entry.block);
      pool_.release(sequence.blocks[i]);
      sequence.blocks[i] = entry.block;
    }
    sequence.nodes.push_back(entry.node);
    if (static_cast<std::int32_t>(sequence.nodes.size()) * block_size_ <= sequence.n_frozen) index_.freeze(entry.node);
  }
}

void SequenceCache::share(const Sequence& parent, Sequence& child) {
  child.family = parent.family;
  child.tokens = parent.tokens;
  child.hole = parent.hole;
  const auto n_held = static_cast<std::ptrdiff_t>(n_entries(parent, parent.n_cached));
  child.blocks.assign(parent.blocks.begin(), parent.blocks.begin() + n_held);
  const auto n_full = static_cast<std::size_t>(parent.n_cached / block_size_);
  child.nodes.assign(parent.nodes.begin(),
                     parent.nodes.begin() + static_cast<std::ptrdiff_t>(std::min(n_full, parent.nodes.size())));
  child.n_cached = parent.n_cached;
  child.n_reached = parent.n_cached;
  for (const std::int32_t block : child.blocks) pool_.retain(block);
}

void SequenceCache::release_from(Sequence& sequence, std::size_t n_kept) {
  for (std::size_t i = n_kept; i < sequence.blocks.size(); ++i) pool_.release(sequence.blocks[i]);
  sequence.blocks.resize(std::min(n_kept, sequence.blocks.size()));
  sequence.nodes.resize(std::min(n_kept, sequence.nodes.size()));
}

void SequenceCache::truncate(Sequence& sequence, std::int32_t n_tokens) {
  assert(n_tokens <= sequence.n_tokens());
  sequence.tokens.resize(static_cast<std::size_t>(n_tokens));
  sequence.n_cached = std::min(sequence.n_cached, n_tokens);
  sequence.n_reached = std::min(sequence.n_reached, n_tokens);
  sequence.n_frozen = std::min(sequence.n_frozen, n_tokens);
  if (n_tokens <= sequence.hole.begin) sequence.hole = {};
  recompute_last(sequence);
  trim(sequence);
  // A block cut in two is no longer the one in the index.
  sequence.nodes.resize(std::min(sequence.nodes.size(), static_cast<std::size_t>(sequence.n_cached / block_size_)));
}

void SequenceCache::evict(Sequence& sequence, kernels::Hole hole) {
  assert(hole.begin < hole.end && hole.end < sequence.n_tokens() && hole.end <= sequence.n_cached);
  assert(sequence.hole.empty() || (hole.begin == sequence.hole.begin && hole.end >= sequence.hole.end));
  const std::size_t first = n_entries(sequence, hole.begin), last = entry_of(sequence, hole.end);
  // The index would keep what is in the hole for the sake of what is behind it.
  while (sequence.nodes.size() > last && index_.try_drop(sequence.nodes.back())) sequence.nodes.pop_back();
  for (std::size_t i = first; i < last; ++i) pool_.release(sequence.blocks[i]);
  if (first < last) {
    const auto blocks = sequence.blocks.begin();
    sequence.blocks.erase(blocks + static_cast<std::ptrdiff_t>(first), blocks + static_cast<std::ptrdiff_t>(last));
  }
  sequence.hole = hole;
  sequence.nodes.resize(std::min(sequence.nodes.size(), static_cast<std::size_t>(hole.begin / block_size_)));
  recompute_last(sequence);
}

void SequenceCache::recompute_last(Sequence& sequence) {
  if (!sequence.hole.empty()) sequence.n_cached = std::min(sequence.n_cached, sequence.n_tokens() - 1);
}

void SequenceCache::drop(Sequence& sequence) {
  release_from(sequence, 0);
  sequence.n_cached = 0;
}

void SequenceCache::close(Sequence& sequence) {
  const auto n_cached = static_cast<std::size_t>(sequence.n_cached), size = static_cast<std::size_t>(block_size_);
  const auto tail = std::span(sequence.tokens).subspan(n_cached - n_cached % size, n_cached % size);
  if (sequence.hole.empty() && !tail.empty() && sequence.nodes.size() == n_cached / size) {
    const auto match = index_.find_longest(last_node(sequence), tail);
    const bool lent = match && match->n_equal == static_cast<std::int32_t>(tail.size());
    if (!lent) (void)index_.insert(last_node(sequence), tail, sequence.blocks[n_cached / size]);
  }
  drop(sequence);
}

void SequenceCache::freeze(Sequence& sequence, std::int32_t n_tokens) {
  sequence.n_frozen = std::max(sequence.n_frozen, n_tokens);
  for (std::size_t i = 0; i < sequence.nodes.size(); ++i) {
    if (static_cast<std::int32_t>(i + 1) * block_size_ <= sequence.n_frozen) index_.freeze(sequence.nodes[i]);
  }
}

void SequenceCache::check_integrity(const std::vector<const Sequence*>& sequences) const {
  std::vector<std::int32_t> holders(static_cast<std::size_t>(pool_.n_blocks()));
  for (const Sequence* sequence : sequences) {
    for (const std::int32_t block : sequence->blocks) ++holders[static_cast<std::size_t>(block)];
    const auto [begin, end] = sequence->hole;
    if (sequence->lost() ? !sequence->blocks.empty()
                         : sequence->blocks.size() < n_entries(*sequence, sequence->n_cached)) {
      throw std::logic_error("sequence " + std::to_string(sequence->id) + " lacks blocks for its cached tokens");
    }
    if (begin < 0 || end < begin || (begin < end && end >= sequence->n_tokens())) {
      throw std::logic_error("sequence " + std::to_string(sequence->id) + " has a hole that is not inside it");
    }
    if (begin<end&& static_cast<std::int32_t>(sequence->nodes.size()) * block_size_> begin) {
      throw std::logic_error("sequence " + std::to_string(sequence->id) + " shares blocks from its hole on");
    }
  }
  index_.check_integrity(holders);
  pool_.check_integrity(holders);
}

}  // namespace kvtape::engine
