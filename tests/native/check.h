#pragma once
// The native tests' few lines of framework: CHECK(condition) reports and counts, main ends with `return failures();`.

#include <cstdio>

namespace kvtape::test {

inline int n_failed = 0, n_checked = 0;

inline int failures() {
  std::printf("%d passed, %d failed\n", n_checked - n_failed, n_failed);
  return n_failed == 0 && n_checked > 0 ? 0 : 1;
}

}  // namespace kvtape::test

#define CHECK(condition, ...)                                             \
  do {                                                                    \
    ++kvtape::test::n_checked;                                            \
    if (!(condition)) {                                                   \
      ++kvtape::test::n_failed;                                           \
      std::printf("%s:%d: %s is false ", __FILE__, __LINE__, #condition); \
      __VA_OPT__(std::printf(__VA_ARGS__);)                               \
      std::printf("\n");                                                  \
    }                                                                     \
  } while (false)
