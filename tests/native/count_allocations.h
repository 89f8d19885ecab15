#pragma once
// Counts what a test allocates with new. For one source file of an executable.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace kvtape::test { inline std::atomic<std::size_t> n_allocations{0}; }  // namespace kvtape::test

// Out of line, or the compiler pairs one of them with malloc or free and warns.
__attribute__((noinline)) void* operator new(std::size_t n) {
  ++kvtape::test::n_allocations;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* p) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::size_t) noexcept { std::free(p); }
