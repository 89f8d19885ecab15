#pragma once
// A sequence: token ids, and the blocks that hold KV for the first n_cached of them. The ids are the truth; the KV is a
// cache of them that may be dropped at any time between steps.
//
// A sequence may have a hole: tokens that were evicted from its middle. Their ids stay, and so do the positions of all
// others. Tokens behind the hole may have attended to what is gone, so their KV is no function of what is left: it is never
// shared by ids, and once it is dropped the sequence is lost. The last token is always computed with the hole of the day.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_index.h"
#include "engine/types.h"
#include "kernels/attention/hole.h"
#include "model/runner.h"

namespace kvtape::engine {

class Generation;

struct Sequence {
  SequenceId id = 0;
  SequenceId family = 0;  // id of the sequence at the root of its forks
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> blocks;             // block table: of n_cached tokens at least, without those in the hole
  std::vector<cache::PrefixIndex::Node> nodes;  // of the leading blocks that stand in the prefix index; before the hole
  kernels::Hole hole;
  std::int32_t n_cached = 0;
  std::int32_t n_reached = 0;   // most tokens that ever had KV since birth or truncation
  std::int32_t n_computed = 0;  // tokens computed for the first time since the last generation began to sample
  std::int32_t n_frozen = 0;    // its first tokens, whose blocks are evicted last
  std::uint32_t epoch = 0;      // raised by what makes results of a running step stale
  std::uint64_t last_used = 0;
  WorkClass work = WorkClass::background;  // of the pending append
  std::uint64_t arrival = 0;               // when its pending work began; the youngest give way
  std::uint64_t place = 0;                 // in the queue of its class, from where it may
  std::int32_t turn_left = 0;              // run so many tokens
  bool dropped = false;                    // its KV was taken while it was idle; rebuilt when asked for
  bool resident_wanted = false;            // somebody waits until all tokens but the last have KV
  bool lacks_mask = false;                 // its generation's next token cannot be drawn before its mask has come
  bool planned = false;                    // part of the step being planned
  std::shared_ptr<Generation> generation;  // the running one

  [[nodiscard]] std::int32_t n_tokens() const noexcept { return static_cast<std::int32_t>(tokens.size()); }
  [[nodiscard]] bool lost() const noexcept { return n_cached < hole.end; }
  [[nodiscard]] std::string lost_message() const;  // what an error says of that
  // Tokens that still have to run: those without KV but for the last; that one too where its logits are wanted, even if
  // its KV is there already. It runs once while its mask is computed; if it was faster, it runs again when the mask is there.
  [[nodiscard]] std::int32_t n_wanted() const noexcept {
    if (lost()) return 0;
    if (generation) return std::max(lacks_mask ? 0 : 1, n_tokens() - n_cached);
    return dropped ? 0 : n_tokens() - 1 - n_cached;
  }
  [[nodiscard]] WorkClass work_class() const noexcept;
};

// The cache's side of a sequence: takes blocks, shares them, gives them back.
class SequenceCache {
 public:
  SequenceCache(std::int32_t n_blocks, std::int32_t block_size);

  // Extends n_cached over what the prefix index holds already: whole blocks, then the first positions of a block that goes
  // on differently, which try_prepare copies. Leaves at least one token to compute.
  void adopt(Sequence& sequence);

  // What must be so before tokens [n_cached, n_cached + n) are written: the first block is its own, the rest exist.
  // A shared first block is replaced, and `copies` gets the pair to copy, in order after those before it.
  // False where the pool ran dry; nothing was taken.
  [[nodiscard]] bool try_prepare(Sequence& sequence, std::int32_t n, std::vector<model::BlockPair>& copies);

  // Room for one token more than the first n, from blocks that nobody holds or remembers. False where there are none.
  [[nodiscard]] bool try_extend(Sequence& sequence, std::int32_t n);

  // Gives back blocks without KV: of drafts that were not taken.
  void trim(Sequence& sequence);

  // Tokens up to n_cached + n have KV now: publishes full blocks, adopts the index's own where it has them.
  void commit(Sequence& sequence, std::int32_t n);

  void share(const Sequence& parent, Sequence& child);       // fork
  void truncate(Sequence& sequence, std::int32_t n_tokens);  // n_tokens <= sequence.n_tokens(), and not in the hole
  void evict(Sequence& sequence, kernels::Hole hole);        // a hole that the old one is the begin of
  void drop(Sequence& sequence);                             // all KV
  void close(Sequence& sequence);  // the same, but its last block, partly filled, can be lent from the index
  void freeze(Sequence& sequence, std::int32_t n_tokens);

  [[nodiscard]] std::int32_t block_size() const noexcept { return block_size_; }
  [[nodiscard]] const cache::BlockPool& pool() const noexcept { return pool_; }
  [[nodiscard]] const cache::PrefixIndex& index() const noexcept { return index_; }
  // Throws std::logic_error where blocks leaked or are held too often.
  void check_integrity(const std::vector<const Sequence*>& sequences) const;

 private:
  // Entries of the block table for the first n_tokens.
  [[nodiscard]] std::size_t n_entries(const Sequence& sequence, std::int32_t n_tokens) const noexcept {
    const std::int32_t n_blocks = (n_tokens + block_size_ - 1) / block_size_;
    return static_cast<std::size_t>(sequence.hole.n_entries(n_blocks, block_size_));
  }
  // Index in the table of the block that position stands in, which is not in the hole.
  [[nodiscard]] std::size_t entry_of(const Sequence& sequence, std::int32_t position) const noexcept {
    return static_cast<std::size_t>(sequence.hole.n_entries(position / block_size_, block_size_));
  }
  [[nodiscard]] std::span<const std::int32_t> block_ids(const Sequence& sequence, std::size_t block) const noexcept;
  [[nodiscard]] cache::PrefixIndex::Node last_node(const Sequence& sequence) const noexcept;
  [[nodiscard]] std::optional<std::int32_t> try_take();
  void release_from(Sequence& sequence, std::size_t n_kept);
  static void recompute_last(Sequence& sequence);

  cache::BlockPool pool_;
  cache::PrefixIndex index_;
  std::int32_t block_size_;
};

}  // namespace kvtape::engine
