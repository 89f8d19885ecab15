// Pieces of an arena: aligned, zeroed, apart from each other, and alive as long as somebody holds them.

#include "base/arena.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"

namespace {

using kvtape::base::Arena;

void pieces_do_not_touch() {
  Arena arena;
  std::vector<std::shared_ptr<std::byte>> pieces;
  const std::size_t sizes[] = {1, 63, 64, 65, 4096, 3u << 20, 1};
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    pieces.push_back(arena.allocate(sizes[i]));
    CHECK(reinterpret_cast<std::uintptr_t>(pieces[i].get()) % 64 == 0);
    for (std::size_t j = 0; j < sizes[i]; ++j) CHECK(pieces[i].get()[j] == std::byte{0});
    std::memset(pieces[i].get(), static_cast<int>(i + 1), sizes[i]);
  }
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    CHECK(pieces[i].get()[0] == static_cast<std::byte>(i + 1));
    CHECK(pieces[i].get()[sizes[i] - 1] == static_cast<std::byte>(i + 1));
  }
}

void a_piece_may_be_larger_than_a_chunk_and_outlive_the_arena() {
  std::shared_ptr<std::byte> small, large, after;
  {
    Arena arena;
    small = arena.allocate(100);
    large = arena.allocate(Arena::kChunkBytes + 5);
    after = arena.allocate(100);
  }
  small.get()[99] = large.get()[Arena::kChunkBytes + 4] = after.get()[99] = std::byte{7};
  CHECK(small.use_count() == 1 && large.use_count() == 1 && after.use_count() == 1);
}

}  // namespace

int main() {
  pieces_do_not_touch();
  a_piece_may_be_larger_than_a_chunk_and_outlive_the_arena();
  return kvtape::test::failures();
}
