// Attention: every table writes the same tiles and reads them with the bytes of `ref`, whatever lies in unseen positions.

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "kernels/every_isa.h"

namespace {

using namespace kvtape;
using kernels::KernelTable;
using kernels::kPartitionLen;
using kernels::KvType;
using test::every_isa_equals_ref;
using test::Random;

constexpr std::uint16_t kNan = 0x7e01;

void write_half(std::byte* at, std::uint16_t half) { std::memcpy(at, &half, sizeof half); }

void writes() {
  Random random(1);
  for (const std::size_t head_dim : {8, 16, 40, 64, 80, 128, 256}) {
    for (const KvType type : {KvType::f16, KvType::q8_0}) {
      const std::size_t block_size = random.one_of<std::size_t>({32, 64}), n_heads = 1 + random.below(3);
      const std::size_t n_rows = random.one_of<std::size_t>({1, 3, 8, 13, 19}), stride = n_heads * head_dim + 3;
      std::vector<float> k = random.floats(n_rows * stride, 4.0f), v = random.floats(n_rows * stride);
      for (std::size_t i = 0; i < k.size(); i += 1 + random.below(300)) {
        k[i] = random.one_of({0.0f, 1e-6f, -1e-40f, 70000.0f, NAN, INFINITY, 65519.0f});
      }
      every_isa_equals_ref("write_kv, head_dim " + std::to_string(head_dim), [&](const KernelTable& table) {
        std::vector<std::byte> tiles(2 * n_heads * kv_tile_bytes(type, head_dim, block_size), std::byte{0x5a});
        const auto write = type == KvType::f16 ? table.write_kv_f16 : table.write_kv_q8_0;
        write({.k = k.data(),
               .v = v.data(),
               .k_stride = stride,
               .v_stride = stride,
               .n_rows = n_rows,
               .slot = block_size - n_rows,
               .tiles = tiles.data(),
               .n_kv_heads = n_heads,
               .head_dim = head_dim,
               .block_size = block_size});
        return tiles;
      });
    }
  }
}

// Rows over a few partitions. What no row sees is NaN, and before the first and behind the last seen there are no tiles.
struct Case {
  KvType type;
  std::size_t head_dim, block_size, n_rows, n_partitions;
  std::vector<float> q, m, l, o;
  std::vector<std::int32_t> first_visible, n_visible;
  base::AlignedBuffer<std::byte> memory;
  std::vector<const std::byte*> k_tiles, v_tiles;

  Case(Random& random, KvType of_type)
      : type(of_type),
        head_dim(random.one_of<std::size_t>({8, 16, 40, 64, 64, 80, 128, 256})),
        block_size(random.one_of<std::size_t>({32, 64, 128})),
        n_rows(random.one_of<std::size_t>({1, 2, 3, 4, 5, 6, 7, 12, 13})),
        n_partitions(1 + random.below(3)),
        q(random.floats(n_rows * head_dim)),
        m(random.floats(n_rows)),
        l(random.floats(n_rows)),
        o(random.floats(n_rows * head_dim)),
        first_visible(n_partitions * n_rows),
        n_visible(n_partitions * n_rows) {
    for (float& sum : l) sum = sum < 0.0f ? 0.0f : sum + 1.0f;  // half of the states are empty
    const bool windowed = random.below(2) == 0;
    for (std::size_t i = 0; i < n_visible.size(); ++i) {
      const std::size_t n = random.below(3) == 0 ? kPartitionLen : random.below(kPartitionLen + 1);
      n_visible[i] = static_cast<std::int32_t>(n);
      first_visible[i] = static_cast<std::int32_t>(windowed ? random.below(n + 1) : 0);
    }
    fill(random);
  }

  bool seen(std::size_t position) const {
    const std::size_t i = position / kPartitionLen * n_rows, j = position % kPartitionLen;
    for (std::size_t r = i; r < i + n_rows; ++r) {
      if (static_cast<std::size_t>(first_visible[r]) <= j && j < static_cast<std::size_t>(n_visible[r])) return true;
    }
    return false;
  }

  void fill(Random& random) {
    const std::size_t tile_bytes = kv_tile_bytes(type, head_dim, block_size);
    const std::size_t n_positions = n_partitions * kPartitionLen, n_tiles = n_positions / block_size;
    memory = base::AlignedBuffer<std::byte>(2 * n_tiles * tile_bytes);
    std::size_t first = n_positions, last = 0;  // tiles outside are not there
    for (std::size_t t = 0; t < n_tiles; ++t) {
      std::byte* const k = memory.data() + 2 * t * tile_bytes;
      for (std::size_t slot = 0; slot < block_size; ++slot) {
        const bool there = seen(t * block_size + slot);
        write_position(random, k, k + tile_bytes, slot, there);
        if (!there) continue;
        first = std::min(first, t);
        last = t;
      }
      k_tiles.push_back(k);
      v_tiles.push_back(k + tile_bytes);
    }
    for (std::size_t t = 0; t < n_tiles; ++t) {
      if (t < first || t > last) k_tiles[t] = v_tiles[t] = nullptr;
    }
  }

  void write_position(Random& random, std::byte* k, std::byte* v, std::size_t slot, bool there) const {
    for (std::size_t d = 0; d < head_dim; ++d) {
      if (type == KvType::f16) {
        write_half(k + 2 * (d * block_size + slot), there ? random.half() : kNan);
        write_half(v + 2 * (slot * head_dim + d), there ? random.half() : kNan);
      } else {
        k[d * block_size + slot] = static_cast<std::byte>(random.word());
        v[slot * head_dim + d] = static_cast<std::byte>(random.word());
      }
    }
    for (std::size_t b = 0; type == KvType::q8_0 && b < kernels::kv_scales(head_dim); ++b) {
      const std::size_t at = head_dim * block_size + 2 * (b * block_size + slot);
      write_half(k + at, there ? static_cast<std::uint16_t>(0x1c00 + random.below(0x800)) : kNan);  // 2^-8 to 2^-6
      write_half(v + at, there ? static_cast<std::uint16_t>(0x1c00 + random.below(0x800)) : kNan);
    }
  }

  std::vector<float> run(const KernelTable& table) const {
    std::vector<const float*> rows(n_rows);
    for (std::size_t r = 0; r < n_rows; ++r) rows[r] = q.data() + r * head_dim;
    std::vector<float> state = m;
    state.insert(state.end(), l.begin(), l.end());
    state.insert(state.end(), o.begin(), o.end());
    const kernels::AttendArgs args{.q = rows.data(),
                                   .n_rows = n_rows,
                                   .head_dim = head_dim,
                                   .block_size = block_size,
                                   .scale = 0.2f,
                                   .n_partitions = n_partitions,
                                   .k_tiles = k_tiles.data(),
                                   .v_tiles = v_tiles.data(),
                                   .n_visible = n_visible.data(),
                                   .state = {state.data(), state.data() + n_rows, state.data() + 2 * n_rows},
                                   .first_visible = first_visible.data()};
    (type == KvType::f16 ? table.attend_f16 : table.attend_q8_0)(args);
    return state;
  }
};

void reads() {
  Random random(2);
  for (int i = 0; i < 120; ++i) {
    const Case c(random, i % 2 == 0 ? KvType::f16 : KvType::q8_0);
    const std::string what = std::string(i % 2 == 0 ? "attend_f16" : "attend_q8_0") + ", head_dim " +
                             std::to_string(c.head_dim) + ", blocks of " + std::to_string(c.block_size) + ", " +
                             std::to_string(c.n_rows) + " rows, " + std::to_string(c.n_partitions) + " partitions";
    for (const float value : c.run(*kernels::find("ref"))) CHECK(std::isfinite(value), "%s", what.c_str());
    every_isa_equals_ref(what, [&](const KernelTable& table) { return c.run(table); });
  }
}

void folds() {
  Random random(3);
  for (const std::size_t head_dim : {8, 24, 64, 80, 256}) {
    const std::size_t n_rows = 9;
    std::vector<float> into = random.floats((2 + head_dim) * n_rows), from = random.floats((2 + head_dim) * n_rows);
    for (std::size_t r = 0; r < n_rows; ++r) {  // l: both empty, one of them, neither
      into[n_rows + r] = r % 2 == 0 ? 0.0f : 1.5f;
      from[n_rows + r] = r % 3 == 0 ? 0.0f : 2.5f;
      if (r > 6) into[r] = -200.0f;  // its exponential is zero
    }
    every_isa_equals_ref("fold_states, head_dim " + std::to_string(head_dim), [&](const KernelTable& table) {
      std::vector<float> state = into, other = from;
      table.fold_states({state.data(), state.data() + n_rows, state.data() + 2 * n_rows},
                        {other.data(), other.data() + n_rows, other.data() + 2 * n_rows}, n_rows, head_dim);
      return state;
    });
  }
}

}  // namespace

int main() {
  if (!test::has_fast_tables()) return 0;
  writes();
  reads();
  folds();
  return test::failures();
}
