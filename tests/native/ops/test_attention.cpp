// Waves of rows, and no allocation once the scratch has grown.

#include "ops/attention.h"

#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"
#include "check.h"
#include "count_allocations.h"
#include "ops/table.h"

namespace {

using namespace kvtape;
using ops::AttentionScratch;
using ops::AttentionSpan;

// Three sequences over one pool, two of them sharing 1,100 positions, the third with a hole; 9 rows each.
struct Batch {
  static constexpr ops::KvLayout kLayout{.n_layers = 2, .n_kv_heads = 2, .head_dim = 16, .block_size = 32};
  static constexpr std::size_t kBlocks = 70, kRows = 9, kHeads = 4, kStride = kHeads * kLayout.head_dim;

  base::AlignedBuffer<std::uint16_t> pool{kBlocks * kLayout.block_bytes() / sizeof(std::uint16_t)};
  std::vector<float> q = std::vector<float>(3 * kRows * kStride);
  std::vector<std::int32_t> first, second, third;
  std::vector<AttentionSpan> spans;

  Batch() {
    for (std::size_t i = 0; i < pool.size(); ++i)
      pool[i] = static_cast<std::uint16_t>(0x3000 + i * 2654435761u % 0x0c00);
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
    for (std::int32_t i = 0; i < 36; ++i) first.push_back(i);
    second = first;
    second[35] = 40;
    for (std::int32_t i = 0; i < 3; ++i) third.push_back(50 - i);
    spans = {{0, kRows, 1140, first, 1, 1100},
             {kRows, kRows, 1143, second, 1, 1100},
             {2 * kRows, kRows, 112, third, 2, 0, {20, 70}}};
  }

  void run(base::ThreadPool::Lease& lease, AttentionScratch& scratch, std::vector<float>& out) {
    const ops::KvPool kv{kLayout, reinterpret_cast<std::byte*>(pool.data()), kBlocks};
    const ops::AttentionQueries queries{q.data(), kStride, kHeads, 0.25f, out.data(), kStride};
    ops::attention(lease, ops::table(), kv, 1, queries, spans, scratch);
  }
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void waves_do_not_show() {
  Batch batch;
  base::ThreadPool pool;
  base::ThreadPool::Lease lease(pool, 2);
  AttentionScratch roomy;
  std::vector<float> whole(batch.q.size()), parts(batch.q.size());
  batch.run(lease, roomy, whole);
  for (std::size_t room : {0, 1000, 1500, 4000}) {
    AttentionScratch narrow(room);
    std::fill(parts.begin(), parts.end(), 0.0f);
    batch.run(lease, narrow, parts);
    CHECK(same(parts, whole), "with room for %zu floats", room);
  }
}

void allocates_once() {
  Batch batch;
  base::ThreadPool pool;
  base::ThreadPool::Lease lease(pool, 2);
  AttentionScratch scratch;
  std::vector<float> out(batch.q.size());
  batch.run(lease, scratch, out);
  const std::size_t before = test::n_allocations;
  batch.run(lease, scratch, out);
  CHECK(test::n_allocations == before);
}

}  // namespace

int main() {
  waves_do_not_show();
  allocates_once();
  return test::failures();
}
