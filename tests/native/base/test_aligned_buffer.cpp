#include "base/aligned_buffer.h"

#include <cstdint>
#include <limits>
#include <new>
#include <utility>

#include "check.h"

using kvtape::base::AlignedBuffer;

namespace {

template <class T>
bool all_zero(const AlignedBuffer<T>& buffer) {
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    if (buffer[i] != T{}) return false;
  }
  return true;
}

bool aligned(const void* p, std::uintptr_t n) { return reinterpret_cast<std::uintptr_t>(p) % n == 0; }

void sizes() {
  // Both ways of getting memory, and the seam between them at 2 MiB.
  constexpr std::size_t seam = (std::size_t{2} << 20) / sizeof(float);
  for (std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{17}, seam - 1, seam, seam + 1, 3 * seam}) {
    AlignedBuffer<float> buffer(n);
    CHECK(buffer.size() == n);
    CHECK(aligned(buffer.data(), n < seam ? 64 : std::uintptr_t{2} << 20), "at n = %zu", n);
    CHECK(all_zero(buffer), "at n = %zu", n);
    buffer[0] = 1;
    buffer[n - 1] = 2;
    CHECK(buffer.data()[n - 1] == 2);
  }
  CHECK(AlignedBuffer<float>().size() == 0);
  CHECK(AlignedBuffer<float>(0).data() == nullptr);
}

void moves() {
  AlignedBuffer<int> a(3);
  a[2] = 7;
  const int* where = a.data();
  AlignedBuffer<int> b(std::move(a));
  CHECK(b.data() == where && b.size() == 3 && b[2] == 7);
  AlignedBuffer<int> c(5);
  c = std::move(b);
  CHECK(c.data() == where && c.size() == 3);
}

void reserve() {
  AlignedBuffer<int> buffer(4);
  buffer[0] = 1;
  const int* where = buffer.data();
  buffer.reserve_discard(4);
  CHECK(buffer.data() == where && buffer[0] == 1);
  buffer.reserve_discard(100);
  CHECK(buffer.size() == 100 && all_zero(buffer));
}

void too_large() {
  bool threw = false;
  try {
    AlignedBuffer<double> buffer(std::numeric_limits<std::size_t>::max() / 4);
  } catch (const std::bad_alloc&) {
    threw = true;
  }
  CHECK(threw);
}

}  // namespace

int main() {
  sizes();
  moves();
  reserve();
  too_large();
  return kvtape::test::failures();
}
