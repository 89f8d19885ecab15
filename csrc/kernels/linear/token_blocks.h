#pragma once
// How the fast products walk tokens and memory: a tile (15 KB for Q4_1 at 1536 columns) stays in L1 or L2 while blocks
// of tokens stream past it. Included by files of one instruction set; internal linkage, as in numerics.h.

#include <cstddef>

namespace kvtape::kernels {

// Tokens of the next pass over a tile where `left` are left and a register block holds up to `most`: even shares,
// because a pass of one token costs most by the token. 9 tokens are 5 and 4, not 8 and 1.
static inline size_t tokens_of_pass(size_t left, size_t most) {
  const size_t n_passes = (left + most - 1) / most;
  return (left + n_passes - 1) / n_passes;
}

// Asks L2 for the weights 8 KiB further on; past the end of the matrix that does nothing. With several tokens a block
// takes so long that the hardware's prefetcher falls behind, and during later passes over a tile it does not run at all:
// two threads from memory, Zen 4, Q4_1 with 1536 columns, products a cycle without and with: 4 tokens 26 and 33, 6
// tokens 27 and 41, 12 tokens 25 and 39. Tried: 512 bytes to 16 KiB; less than 4 KiB and into L1 is worse.
// One token or two keep up with the hardware's prefetcher and only get in its way: two threads, of the speed at which
// memory can be read, Q4_1 1 token without 0.91 to 0.98 and with 0.75 to 0.97, Q8_0 2 tokens 0.98 and 0.94 to 0.97.
template <int T>
static inline void prefetch_ahead(const std::byte* w, size_t n_bytes) {
  if (T <= 2) return;
  for (size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(w + 8192 + i, 0, 2);
}

}  // namespace kvtape::kernels
