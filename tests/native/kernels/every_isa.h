#pragma once
// What the tests of the kernel tables share: seeded inputs, and a comparison with `ref` byte for byte.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "kernels/table.h"

namespace kvtape::test {

class Random {  // splitmix64 (Steele, Lea and Flood, 2014)
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint32_t word() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
  }
  std::size_t below(std::size_t n) noexcept { return word() % n; }
  template <class T>
  T one_of(std::initializer_list<T> values) noexcept {
    return values.begin()[below(values.size())];
  }
  // Between -1 and 1, with all bits of the mantissa.
  float unit() noexcept { return static_cast<float>(static_cast<std::int32_t>(word())) * 0x1p-31f; }
  // A finite f16 of either sign, 2^-7 to 4 in size.
  std::uint16_t half() noexcept { return static_cast<std::uint16_t>((word() & 0x83ffu) | ((8 + below(9)) << 10)); }
  std::vector<float> floats(std::size_t n, float scale = 1.0f) {
    std::vector<float> x(n);
    for (float& value : x) value = unit() * scale;
    return x;
  }
  template <class T>
  std::vector<T> bytes(std::size_t n) {
    std::vector<T> x(n);
    for (T& value : x) value = static_cast<T>(word());
    return x;
  }

 private:
  std::uint64_t state_;
};

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// run(table) returns what a kernel wrote; each table's must be that of `ref`.
template <class Run>
void every_isa_equals_ref(const std::string& what, Run run) {
  const auto wanted = run(*kernels::find("ref"));
  for (const kernels::KernelTable* table : kernels::available()) {
    if (table->isa == "ref") continue;
    CHECK(same_bytes(run(*table), wanted), "%s, %s", what.c_str(), std::string(table->isa).c_str());
  }
}

// For main: whether there is more than `ref` to test. KVTAPE_ISA, where it is set, names one that must be there.
inline bool has_fast_tables() {
  CHECK(kernels::active() != nullptr, "KVTAPE_ISA=%s is not available", std::getenv("KVTAPE_ISA"));
  for (const kernels::KernelTable* table : kernels::available()) std::printf("%s ", std::string(table->isa).c_str());
  std::printf("\n");
  return kernels::available().size() > 1;
}

}  // namespace kvtape::test
