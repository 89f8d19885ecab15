// How fast this machine can be: time to read bytes from memory, and to multiply and add, with all threads asked for.
//
//   bench_limits THREADS avx2|avx512      then a line a command on standard input, seconds on standard output:
//   read BYTES TIMES      read a buffer of BYTES on 2 MB pages TIMES times over
//   int8 MACS             signed 8-bit times unsigned 8-bit, summed in int32: maddubs, madd, add; VNNI with avx512
//   int4 MACS             the same for 4-bit weights, whose products fit int16 eight deep: one madd for eight maddubs
//   fma MACS              float32
//
// Operands stay in registers: a kernel that also loads them can only be slower.

#include <immintrin.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"

namespace {

using Buffer = kvtape::base::AlignedBuffer<std::uint8_t>;  // asks for huge pages
constexpr int kUnroll = 8;  // sums in flight; more than latency times width of any unit here

// Keeps the compiler from moving work on `x` out of a loop, and from taking one product for another: there are fewer
// weights than sums, and two equal sums would be computed once.
template <class T>
void fresh(T& x) {
  asm volatile("" : "+x"(x));
}

#define UNROLL _Pragma("GCC unroll 8")  // or the sums live in memory
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vnni")))

AVX2 void read_avx2(const std::uint8_t* data, std::size_t n) {
  __m256i sum[4] = {};
  for (std::size_t i = 0; i + 128 <= n; i += 128) {
    UNROLL
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm256_xor_si256(sum[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i) + j));
    }
  }
  UNROLL
  for (auto& s : sum) fresh(s);
}

AVX2 void int8_avx2(std::size_t n_macs) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i x = ones, sum[kUnroll] = {}, weights[4] = {};
  UNROLL
  for (auto& w : weights) fresh(w);
  for (std::size_t i = 0; i < n_macs; i += 32 * kUnroll) {
    UNROLL
    for (int j = 0; j < kUnroll; ++j) {
      fresh(x);
      sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(_mm256_maddubs_epi16(weights[j % 4], x), ones));
    }
  }
  UNROLL
  for (auto& s : sum) fresh(s);
}

AVX2 void int4_avx2(std::size_t n_macs) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i x = ones, sum[4] = {}, weights[4] = {};
  UNROLL
  for (auto& w : weights) fresh(w);
  for (std::size_t i = 0; i < n_macs; i += 4 * 32 * kUnroll) {
    __m256i deep[4] = {};
    UNROLL
    for (int j = 0; j < kUnroll; ++j) {
      UNROLL
      for (auto& d : deep) {
        fresh(x);
        d = _mm256_add_epi16(d, _mm256_maddubs_epi16(weights[j % 4], x));
        fresh(d);  // in this order: GCC would sum by pairs and spill
      }
    }
    UNROLL
    for (int k = 0; k < 4; ++k) sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(deep[k], ones));
  }
  UNROLL
  for (auto& s : sum) fresh(s);
}

AVX2 void fma_avx2(std::size_t n_macs) {
  __m256 x = _mm256_set1_ps(0), sum[kUnroll] = {}, weights[4] = {};
  UNROLL
  for (auto& w : weights) fresh(w);
  for (std::size_t i = 0; i < n_macs; i += 8 * kUnroll) {
    UNROLL
    for (int j = 0; j < kUnroll; ++j) {
      fresh(x);
      sum[j] = _mm256_fmadd_ps(weights[j % 4], x, sum[j]);
    }
  }
  UNROLL
  for (auto& s : sum) fresh(s);
}

AVX512 void int8_avx512(std::size_t n_macs) {
  __m512i x = _mm512_set1_epi8(1), sum[kUnroll] = {}, weights[4] = {};
  UNROLL
  for (auto& w : weights) fresh(w);
  for (std::size_t i = 0; i < n_macs; i += 64 * kUnroll) {
    UNROLL
    for (int j = 0; j < kUnroll; ++j) {
      fresh(x);
      sum[j] = _mm512_dpbusd_epi32(sum[j], weights[j % 4], x);
    }
  }
  UNROLL
  for (auto& s : sum) fresh(s);
}

AVX512 void fma_avx512(std::size_t n_macs) {
  __m512 x = _mm512_set1_ps(0), sum[kUnroll] = {}, weights[4] = {};
  UNROLL
  for (auto& w : weights) fresh(w);
  for (std::size_t i = 0; i < n_macs; i += 16 * kUnroll) {
    UNROLL
    for (int j = 0; j < kUnroll; ++j) {
      fresh(x);
      sum[j] = _mm512_fmadd_ps(weights[j % 4], x, sum[j]);
    }
  }
  UNROLL
  for (auto& s : sum) fresh(s);
}

// Runs f(thread) on n_threads threads, the calling one included; returns seconds.
double timed(std::size_t n_threads, const std::function<void(std::size_t)>& f) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (std::size_t t = 1; t < n_threads; ++t) threads.emplace_back(f, t);
  f(0);
  for (auto& thread : threads) thread.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return EXIT_FAILURE;
  const std::size_t n_threads = std::strtoull(argv[1], nullptr, 10);
  const bool avx512 = std::string(argv[2]) == "avx512";
  if (n_threads == 0 || !__builtin_cpu_supports("avx2") || (avx512 && !__builtin_cpu_supports("avx512vnni"))) {
    std::cerr << "bench_limits: this CPU has no " << argv[2] << '\n';
    return EXIT_FAILURE;
  }
  Buffer buffer;
  std::string what;
  for (std::size_t n = 0; std::cin >> what >> n;) {
    double seconds = 0;
    if (what == "read") {
      std::size_t n_times = 1;
      std::cin >> n_times;
      if (buffer.size() != n) {
        buffer = Buffer(n);
        for (std::size_t i = 0; i < n; i += 4096) buffer[i] = 1;  // else all pages are the one of zeros
      }
      const std::size_t part = n / n_threads / 128 * 128;
      seconds = timed(n_threads, [&](std::size_t t) {
        for (std::size_t i = 0; i < n_times; ++i) read_avx2(buffer.data() + t * part, part);
      });
    } else {
      const auto multiply = what == "fma"    ? (avx512 ? fma_avx512 : fma_avx2)
                            : avx512         ? int8_avx512
                            : what == "int4" ? int4_avx2
                                             : int8_avx2;
      seconds = timed(n_threads, [&](std::size_t) { multiply(n / n_threads); });
    }
    std::cout << seconds << std::endl;
  }
  return EXIT_SUCCESS;
}
