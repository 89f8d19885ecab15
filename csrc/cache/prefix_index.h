#pragma once
// Token prefix to block ids: a tree whose edges are the ids of one block, found by hash and always confirmed by comparing
// the ids. Where no whole block fits, the child that begins alike longest can lend its first positions; a leaf may hold
// fewer ids than a block has, to be lent like that. The index is one holder of each of its blocks; a block that nobody
// else holds can be evicted.

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/block_pool.h"

namespace kvtape::cache {

class PrefixIndex {
 public:
  using Node = std::int32_t;
  static constexpr Node kRoot = 0;

  struct Entry {
    Node node;
    std::int32_t block;
  };

  struct Match {
    Node node;
    std::int32_t block;
    std::int32_t n_equal;  // ids from the begin on, 1 to block_size
  };

  PrefixIndex(BlockPool& pool, std::int32_t block_size);

  // The child of `parent` along `ids` ([block_size]); becomes the most recently used.
  [[nodiscard]] std::optional<Entry> find(Node parent, std::span<const std::int32_t> ids);

  // The child of `parent` whose ids begin with most of `ids` ([1 .. block_size]); becomes the most recently used. Looks at
  // all children where none has them all: some ns each.
  [[nodiscard]] std::optional<Match> find_longest(Node parent, std::span<const std::int32_t> ids);

  // Puts `block` there ([1 .. block_size] ids; less than block_size: a leaf for ever) and retains it, unless the child
  // exists: then its own block is the answer and stays. Leaves that the new child has all ids of are dropped.
  // The node of a whole block stays valid while somebody besides the index holds its block.
  Entry insert(Node parent, std::span<const std::int32_t> ids, std::int32_t block);

  // Frozen nodes are evicted after all others.
  void freeze(Node node) noexcept;

  // Drops a leaf whose block nobody holds but the index and the caller. False where it is another.
  [[nodiscard]] bool try_drop(Node node);

  // Drops the least recently used leaf whose block nobody else holds. False where there is none.
  [[nodiscard]] bool try_evict();

  [[nodiscard]] std::int32_t n_nodes() const noexcept { return n_nodes_; }
  // Adds the index's own holds to `holders` ([n_blocks]); throws std::logic_error where the tree is broken.
  void check_integrity(std::vector<std::int32_t>& holders) const;

 private:
  struct NodeData {
    Node parent = -1;                                // -1: unused
    Node first_child = kRoot, next_sibling = kRoot;  // kRoot: none
    std::int32_t block = -1;
    std::int32_t n_ids = 0;
    bool frozen = false;
    std::uint64_t hash = 0;
    std::uint64_t last_used = 0;
  };

  [[nodiscard]] std::uint64_t hash(Node parent, std::span<const std::int32_t> ids) const noexcept;
  [[nodiscard]] std::optional<Node> lookup(Node parent, std::span<const std::int32_t> ids, std::uint64_t key) const;
  [[nodiscard]] NodeData& at(Node node) noexcept { return nodes_[static_cast<std::size_t>(node)]; }
  [[nodiscard]] std::span<const std::int32_t> ids_of(Node node) const noexcept;
  void drop_covered_by(Node node);
  void drop(Node leaf);

  BlockPool& pool_;
  std::int32_t block_size_;
  std::int32_t n_nodes_ = 0;  // without the root
  std::uint64_t clock_ = 0;
  std::vector<NodeData> nodes_;    // [n_nodes + 1], the root first
  std::vector<std::int32_t> ids_;  // [n_nodes + 1, block_size]
  std::vector<Node> unused_;
  std::unordered_multimap<std::uint64_t, Node> by_hash_;
};

}  // namespace kvtape::cache
