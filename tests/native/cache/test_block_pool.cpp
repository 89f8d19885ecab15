#include "cache/block_pool.h"

#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "check.h"

using kvtape::cache::BlockPool;

namespace {

template <class Error, class F>
bool throws(F&& f) {
  try {
    f();
  } catch (const Error&) {
    return true;
  }
  return false;
}

void holders_and_exhaustion() {
  BlockPool pool(3);
  CHECK(pool.n_blocks() == 3 && pool.n_free() == 3);
  std::set<std::int32_t> blocks;
  for (int i = 0; i < 3; ++i) blocks.insert(*pool.try_allocate());
  CHECK(blocks == std::set<std::int32_t>({0, 1, 2}));
  CHECK(!pool.try_allocate());
  pool.retain(1);
  CHECK(pool.ref_count(1) == 2);
  pool.release(1);
  CHECK(pool.n_free() == 0 && pool.ref_count(1) == 1);
  pool.release(1);
  CHECK(pool.n_free() == 1 && pool.try_allocate() == 1);  // the warmest is used next
}

void a_wrong_count_is_noticed() {
  BlockPool pool(2);
  const auto block = static_cast<std::size_t>(*pool.try_allocate());
  std::vector<std::int32_t> holders(2);
  CHECK(throws<std::logic_error>([&] { pool.check_integrity(holders); }));
  holders[block] = 1;
  pool.check_integrity(holders);
  holders[1 - block] = 1;
  CHECK(throws<std::logic_error>([&] { pool.check_integrity(holders); }));
}

void no_blocks_is_an_error() {
  for (std::int32_t n : {0, -1}) CHECK(throws<kvtape::base::Error>([n] { BlockPool pool(n); }));
}

// Against a vector of counts.
void random_programs() {
  std::mt19937 random(1);
  BlockPool pool(7);
  std::vector<std::int32_t> holders(7);
  std::vector<std::int32_t> held;  // one entry a hold
  for (int i = 0; i < 20000; ++i) {
    const auto pick = [&] { return static_cast<std::size_t>(random() % held.size()); };
    switch (random() % 3) {
      case 0:
        if (const auto block = pool.try_allocate()) {
          CHECK(holders[static_cast<std::size_t>(*block)]++ == 0);
          held.push_back(*block);
        } else {
          CHECK(std::set(held.begin(), held.end()).size() == 7);
        }
        break;
      case 1:
        if (held.empty() || held.size() > 40) break;
        held.push_back(held[pick()]);
        pool.retain(held.back());
        ++holders[static_cast<std::size_t>(held.back())];
        break;
      default:
        if (held.empty()) break;
        const std::size_t at = pick();
        pool.release(held[at]);
        --holders[static_cast<std::size_t>(held[at])];
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
    }
    pool.check_integrity(holders);
  }
}

}  // namespace

int main() {
  holders_and_exhaustion();
  a_wrong_count_is_noticed();
  no_blocks_is_an_error();
  random_programs();
  return kvtape::test::failures();
}
