#include "cache/prefix_index.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "check.h"

using kvtape::cache::BlockPool;
using kvtape::cache::PrefixIndex;

namespace {

constexpr std::int32_t kBlockSize = 2;
using Ids = std::array<std::int32_t, kBlockSize>;

void check(const BlockPool& pool, const PrefixIndex& index, std::vector<std::int32_t> holders) {
  try {
    index.check_integrity(holders);
    pool.check_integrity(holders);
  } catch (const std::logic_error& error) {
    CHECK(false, "%s", error.what());
  }
}

void find_and_insert() {
  BlockPool pool(4);
  PrefixIndex index(pool, kBlockSize);
  const Ids a{1, 2}, b{2, 1};
  CHECK(!index.find(PrefixIndex::kRoot, a));
  const std::int32_t block = *pool.try_allocate();
  const auto first = index.insert(PrefixIndex::kRoot, a, block);
  CHECK(first.block == block && pool.ref_count(block) == 2);
  CHECK(!index.find(PrefixIndex::kRoot, b));
  CHECK(!index.find(first.node, a));  // the same ids after another prefix are another node
  const auto found = index.find(PrefixIndex::kRoot, a);
  CHECK(found && found->node == first.node && found->block == block);

  // A second block for the same prefix: the first one is the answer, the second gets no holder.
  const std::int32_t twin = *pool.try_allocate();
  const auto again = index.insert(PrefixIndex::kRoot, a, twin);
  CHECK(again.node == first.node && again.block == block);
  CHECK(pool.ref_count(twin) == 1 && index.n_nodes() == 1);
}

void the_longest_common_begin_is_found() {
  BlockPool pool(4);
  PrefixIndex index(pool, 4);
  const auto insert = [&](PrefixIndex::Node parent, const std::array<std::int32_t, 4>& ids) {
    const std::int32_t block = *pool.try_allocate();
    const auto entry = index.insert(parent, ids, block);
    pool.release(block);
    return entry;
  };
  const auto a = insert(PrefixIndex::kRoot, {1, 2, 3, 4}), b = insert(PrefixIndex::kRoot, {1, 2, 9, 9});
  const auto c = insert(a.node, {1, 1, 1, 1});
  const auto longest = [&](PrefixIndex::Node parent, const std::vector<std::int32_t>& ids) {
    const auto match = index.find_longest(parent, ids);
    return match ? std::pair(match->block, match->n_equal) : std::pair(-1, 0);
  };
  CHECK(longest(PrefixIndex::kRoot, {1, 2, 3, 4}) == std::pair(a.block, 4));
  CHECK(longest(PrefixIndex::kRoot, {1, 2, 3, 5}) == std::pair(a.block, 3));
  CHECK(longest(PrefixIndex::kRoot, {1, 2, 9}) == std::pair(b.block, 3));
  CHECK(longest(PrefixIndex::kRoot, {1}).second == 1);
  CHECK(longest(PrefixIndex::kRoot, {2, 2, 3, 4}) == std::pair(-1, 0));
  CHECK(longest(a.node, {1, 1, 5, 5}) == std::pair(c.block, 2));
  CHECK(longest(b.node, {1, 1, 5, 5}) == std::pair(-1, 0));
  (void)index.find_longest(PrefixIndex::kRoot, std::vector<std::int32_t>{1, 2, 3});  // a is used: b is the oldest leaf
  (void)index.find_longest(a.node, std::vector<std::int32_t>{1});
  CHECK(index.try_evict());
  CHECK(longest(PrefixIndex::kRoot, {1, 2, 9, 9}) == std::pair(a.block, 2));
}

// Fewer ids than a block has: lent as far as they go, and dropped where another child has them all.
void a_leaf_may_be_partly_filled() {
  BlockPool pool(8);
  PrefixIndex index(pool, 4);
  const auto insert = [&](PrefixIndex::Node parent, const std::vector<std::int32_t>& ids) {
    const std::int32_t block = *pool.try_allocate();
    const auto entry = index.insert(parent, ids, block);
    pool.release(block);
    return entry;
  };
  const auto longest = [&](PrefixIndex::Node parent, const std::vector<std::int32_t>& ids) {
    const auto match = index.find_longest(parent, ids);
    return match ? std::pair(match->block, match->n_equal) : std::pair(-1, 0);
  };
  const auto root = PrefixIndex::kRoot;
  const auto two = insert(root, {1, 2}), other = insert(root, {1, 3});
  CHECK(longest(root, {1, 2, 3, 4}) == std::pair(two.block, 2));
  CHECK(longest(root, {1, 3}) == std::pair(other.block, 2));
  CHECK(!index.find(root, std::vector<std::int32_t>{1, 2, 0, 0}));
  const auto three = insert(root, {1, 2, 3});
  CHECK(index.n_nodes() == 2 && longest(root, {1, 2, 9, 9}) == std::pair(three.block, 2));
  pool.retain(three.block);  // somebody reads it, and knows the block, not the node
  const auto four = insert(root, {1, 2, 3, 4});
  CHECK(index.n_nodes() == 2 && longest(root, {1, 2, 3, 4}) == std::pair(four.block, 4));
  CHECK(pool.ref_count(three.block) == 1);
  pool.release(three.block);
  (void)insert(four.node, {1});
  check(pool, index, std::vector<std::int32_t>(8));
  while (index.try_evict()) check(pool, index, std::vector<std::int32_t>(8));
  CHECK(index.n_nodes() == 0 && pool.n_free() == 8);
}

void eviction_takes_the_oldest_free_leaf() {
  BlockPool pool(8);
  PrefixIndex index(pool, kBlockSize);
  std::vector<PrefixIndex::Entry> nodes;
  for (std::int32_t i = 0; i < 4; ++i) {
    const Ids ids{i, i};
    const std::int32_t block = *pool.try_allocate();
    nodes.push_back(index.insert(PrefixIndex::kRoot, ids, block));
    if (i != 2) pool.release(block);  // somebody goes on holding block 2
  }
  const std::int32_t child = *pool.try_allocate();
  (void)index.insert(nodes[0].node, Ids{9, 9}, child);
  pool.release(child);
  index.freeze(nodes[1].node);
  (void)index.find(PrefixIndex::kRoot, Ids{3, 3});

  const auto is_there = [&](std::int32_t i) { return index.find(PrefixIndex::kRoot, Ids{i, i}).has_value(); };
  CHECK(index.try_evict());  // the child: 0 is older, but no leaf, and 3 was found since
  CHECK(!index.find(nodes[0].node, Ids{9, 9}) && pool.ref_count(child) == 0);
  CHECK(index.try_evict());
  CHECK(!is_there(0));
  CHECK(index.try_evict());  // 1 is older than 3, but frozen
  CHECK(!is_there(3) && is_there(1));
  CHECK(index.try_evict());
  CHECK(!is_there(1));
  CHECK(!index.try_evict());  // 2 is held
  CHECK(is_there(2) && index.n_nodes() == 1);
  pool.release(nodes[2].block);
  CHECK(index.try_evict() && index.n_nodes() == 0 && pool.n_free() == 8);
}

void a_leaf_of_the_caller_can_be_dropped() {
  BlockPool pool(4);
  PrefixIndex index(pool, kBlockSize);
  const std::int32_t parent_block = *pool.try_allocate(), child_block = *pool.try_allocate();
  const auto parent = index.insert(PrefixIndex::kRoot, Ids{1, 2}, parent_block).node;
  const auto child = index.insert(parent, Ids{3, 4}, child_block).node;
  CHECK(!index.try_drop(parent));  // it has a child
  pool.retain(child_block);
  CHECK(!index.try_drop(child));  // somebody else has it, too, and knows the node
  pool.release(child_block);
  CHECK(index.try_drop(child) && !index.find(parent, Ids{3, 4}));
  CHECK(index.try_drop(parent) && index.n_nodes() == 0);
  std::vector<std::int32_t> holders(4);
  holders[static_cast<std::size_t>(parent_block)] = holders[static_cast<std::size_t>(child_block)] = 1;
  check(pool, index, holders);
}

// Random prompts over a few ids, against a map from whole prefixes to blocks.
void random_programs() {
  std::mt19937 random(1);
  for (int program = 0; program < 300; ++program) {
    BlockPool pool(12);
    PrefixIndex index(pool, kBlockSize);
    std::map<std::vector<std::int32_t>, std::int32_t> model;  // prefix of whole blocks -> block id
    for (int i = 0; i < 60; ++i) {
      if (random() % 4 == 0) {
        const std::int32_t n_free = pool.n_free();
        CHECK(index.try_evict() == !model.empty());
        if (model.empty()) continue;
        CHECK(pool.n_free() == n_free + 1);
        // What is gone is a leaf of the model.
        const auto gone = std::find_if(model.begin(), model.end(),
                                       [&](const auto& item) { return pool.ref_count(item.second) == 0; });
        CHECK(gone != model.end());
        const auto extends = [&](const std::vector<std::int32_t>& prefix) {
          return prefix.size() > gone->first.size() &&
                 std::equal(gone->first.begin(), gone->first.end(), prefix.begin());
        };
        CHECK(std::none_of(model.begin(), model.end(), [&](const auto& item) { return extends(item.first); }));
        model.erase(gone);
      } else {
        std::vector<std::int32_t> prefix;
        PrefixIndex::Node node = PrefixIndex::kRoot;
        const std::size_t n_blocks = 1 + random() % 3;
        std::vector<std::int32_t> held;  // as a sequence would: its own holds keep its nodes from being evicted
        for (std::size_t b = 0; b < n_blocks; ++b) {
          const Ids ids{static_cast<std::int32_t>(random() % 2), static_cast<std::int32_t>(random() % 2)};
          prefix.insert(prefix.end(), ids.begin(), ids.end());
          const auto known = model.find(prefix);
          const auto found = index.find(node, ids);
          CHECK(found.has_value() == (known != model.end()));
          const auto longest = index.find_longest(node, ids);
          std::int32_t n_equal = 0;  // with the best of the model's prefixes of that length
          for (const auto& [other, id] : model) {
            if (other.size() != prefix.size()) continue;
            const auto n = std::ranges::mismatch(other, prefix).in1 - other.begin();
            n_equal = std::max(n_equal, static_cast<std::int32_t>(n - static_cast<std::ptrdiff_t>(b * kBlockSize)));
          }
          CHECK((longest ? longest->n_equal : 0) == std::max(n_equal, 0));
          if (found) {
            CHECK(found->block == known->second);
            node = found->node;
            pool.retain(found->block);
            held.push_back(found->block);
          } else {
            const auto block = pool.try_allocate();
            if (!block) break;
            const auto entry = index.insert(node, ids, *block);
            CHECK(entry.block == *block);
            model[prefix] = *block;
            node = entry.node;
            held.push_back(*block);
          }
        }
        for (const std::int32_t block : held) pool.release(block);
      }
      CHECK(index.n_nodes() == static_cast<std::int32_t>(model.size()));
      check(pool, index, std::vector<std::int32_t>(12));
    }
  }
}

// A node that is used again after an eviction must not answer for the ids it had before.
void nodes_are_used_again() {
  BlockPool pool(1);
  PrefixIndex index(pool, kBlockSize);
  for (std::int32_t i = 0; i < 100; ++i) {
    const std::int32_t block = *pool.try_allocate();
    const auto entry = index.insert(PrefixIndex::kRoot, Ids{i, 0}, block);
    CHECK(entry.node == 1);
    pool.release(block);
    CHECK(i == 0 || !index.find(PrefixIndex::kRoot, Ids{i - 1, 0}));
    CHECK(index.try_evict());
  }
}

}  // namespace

int main() {
  find_and_insert();
  the_longest_common_begin_is_found();
  a_leaf_may_be_partly_filled();
  eviction_takes_the_oldest_free_leaf();
  a_leaf_of_the_caller_can_be_dropped();
  random_programs();
  nodes_are_used_again();
  return kvtape::test::failures();
}
