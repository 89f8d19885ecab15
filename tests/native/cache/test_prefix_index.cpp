// The prefix index against a map of prefixes, and the pool's counts against its holders, after every operation.

#include "cache/prefix_index.h"

#include <map>
#include <random>
#include <vector>

#include "check.h"

namespace {

using namespace kvtape;
using Ids = std::vector<std::int32_t>;

constexpr std::int32_t kBlockSize = 2, kBlocks = 12;

void run(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  cache::BlockPool pool(kBlocks);
  cache::PrefixIndex index(pool, kBlockSize);
  std::map<Ids, std::int32_t> model;               // whole prefix -> block
  std::vector<std::int32_t> held(kBlocks);         // blocks this test holds
  const auto holders = [&] {
    auto all = held;
    index.check_integrity(all);
    return all;
  };

  for (int step = 0; step < 300; ++step) {
    Ids prefix;
    cache::PrefixIndex::Node node = cache::PrefixIndex::kRoot;
    for (std::size_t depth = 0; depth < 1 + random() % 4; ++depth) {
      const Ids ids{static_cast<std::int32_t>(random() % 2), static_cast<std::int32_t>(random() % 2)};
      prefix.insert(prefix.end(), ids.begin(), ids.end());
      const auto found = index.find(node, ids);
      const auto wanted = model.find(prefix);
      CHECK(found.has_value() == (wanted != model.end()));
      if (found) {
        CHECK(found->block == wanted->second);
        node = found->node;
        continue;
      }
      auto block = pool.try_allocate();
      if (!block) {
        // Only leaves go, and none that somebody else holds.
        const auto n_before = index.n_nodes();
        const bool evicted = index.try_evict();
        CHECK(index.n_nodes() == n_before - (evicted ? 1 : 0));
        if (evicted) {
          std::size_t n_gone = 0;
          for (auto it = model.begin(); it != model.end();) {
            if (pool.ref_count(it->second) > 0) {
              ++it;
              continue;
            }
            ++n_gone;
            it = model.erase(it);
          }
          CHECK(n_gone == 1);
        }
        break;
      }
      const auto entry = index.insert(node, ids, *block);
      CHECK(entry.block == *block && pool.ref_count(*block) == 2);
      CHECK(index.insert(node, ids, *block).node == entry.node && pool.ref_count(*block) == 2);
      model[prefix] = *block;
      node = entry.node;
      if (random() % 4 == 0) {
        ++held[static_cast<std::size_t>(*block)];
      } else {
        pool.release(*block);
      }
      if (random() % 8 == 0) index.freeze(node);
    }
    if (random() % 3 == 0) {
      for (std::size_t block = 0; block < held.size(); ++block) {
        if (held[block] > 0 && random() % 2 == 0) {
          --held[block];
          pool.release(static_cast<std::int32_t>(block));
        }
      }
    }
    pool.check_integrity(holders());
  }
}

void test_oldest_leaf_goes_first_and_frozen_ones_last() {
  cache::BlockPool pool(3);
  cache::PrefixIndex index(pool, kBlockSize);
  std::vector<cache::PrefixIndex::Entry> entries;
  for (std::int32_t i = 0; i < 3; ++i) {
    const auto block = pool.try_allocate();
    entries.push_back(index.insert(cache::PrefixIndex::kRoot, Ids{i, i}, *block));
    pool.release(*block);
  }
  index.freeze(entries[0].node);
  CHECK(index.find(cache::PrefixIndex::kRoot, Ids{1, 1}).has_value());  // 1 is newer than 2 now
  CHECK(index.try_evict() && !index.find(cache::PrefixIndex::kRoot, Ids{2, 2}).has_value());
  CHECK(index.try_evict() && !index.find(cache::PrefixIndex::kRoot, Ids{1, 1}).has_value());
  CHECK(index.find(cache::PrefixIndex::kRoot, Ids{0, 0}).has_value());
  CHECK(index.try_evict() && !index.try_evict() && pool.n_free() == 3);
}

}  // namespace

int main() {
  for (std::uint64_t seed = 0; seed < 200; ++seed) run(seed);
  test_oldest_leaf_goes_first_and_frozen_ones_last();
  return test::failures();
}
