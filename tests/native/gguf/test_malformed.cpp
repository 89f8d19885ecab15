// No file, however broken, makes the reader crash, hang, read outside it or take memory that the file does not justify.

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "base/error.h"
#include "base/utf8.h"
#include "check.h"
#include "corpus.h"
#include "gguf/reader.h"

namespace {

std::size_t n_live = 0, peak = 0;

void* counted(std::size_t n) {
  void* p = std::malloc(n);
  if (p == nullptr) throw std::bad_alloc();
  n_live += malloc_usable_size(p);
  peak = std::max(peak, n_live);
  return p;
}

void uncounted(void* p) noexcept {
  if (p != nullptr) n_live -= malloc_usable_size(p);
  std::free(p);
}

}  // namespace

void* operator new(std::size_t n) { return counted(n); }
void* operator new[](std::size_t n) { return counted(n); }
void operator delete(void* p) noexcept { uncounted(p); }
void operator delete[](void* p) noexcept { uncounted(p); }
void operator delete(void* p, std::size_t) noexcept { uncounted(p); }
void operator delete[](void* p, std::size_t) noexcept { uncounted(p); }

namespace {

using namespace kvtape;
using test::Builder;
using test::ValueType;

constexpr std::size_t kMaxMultiple = 8, kMaxExtra = 4096;  // the rest: messages and the exception

struct Outcome {
  bool refused = false;
  base::ErrorCode code = base::ErrorCode::io;
  std::string message;
};

// Looks at everything there is, so that the sanitizers see every byte that a view promises.
unsigned walk(const gguf::Value& value, std::string_view key) {
  unsigned sum = 0;
  for (const auto byte : value.bytes) sum += std::to_integer<unsigned>(byte);
  if (value.type == ValueType::array && (value.element == ValueType::array || value.element == ValueType::string)) {
    for (const auto& element : gguf::elements(value, key)) sum += walk(element, key);
  }
  return sum;
}

Outcome read(const std::vector<std::byte>& bytes, const char* name) {
  Outcome outcome;
  const std::size_t before = n_live;
  peak = before;
  try {
    const gguf::Contents contents = gguf::parse(bytes);
    volatile unsigned sum = 0;
    for (const auto& [key, value] : contents.metadata.entries()) sum = sum + walk(value, key);
    for (const auto& tensor : contents.tensors) {
      for (const auto byte : tensor.bytes) sum = sum + std::to_integer<unsigned>(byte);
    }
  } catch (const base::Error& error) {
    outcome = {true, error.code(), error.what()};
  }
  CHECK(peak - before <= kMaxMultiple * bytes.size() + kMaxExtra, "%s: %zu bytes taken for a file of %zu", name,
        peak - before, bytes.size());
  return outcome;
}

void test_corpus() {
  const auto files = test::malformed_files();
  CHECK(files.size() >= 40, "%zu files", files.size());
  for (const auto& [name, bytes, says] : files) {
    const Outcome outcome = read(bytes, name.c_str());
    CHECK(outcome.refused, "%s", name.c_str());
    CHECK(outcome.code == base::ErrorCode::corrupt_file || outcome.code == base::ErrorCode::unsupported, "%s",
          name.c_str());
    CHECK(outcome.message.find(says) != std::string::npos, "%s: '%s'", name.c_str(), outcome.message.c_str());
    CHECK(outcome.message.starts_with("gguf: ") && outcome.message.size() < 400, "%s: '%s'", name.c_str(),
          outcome.message.c_str());
    CHECK(base::is_utf8(outcome.message), "%s", name.c_str());
  }
}

void test_every_truncation() {
  const auto good = test::good_file().bytes;
  CHECK(!read(good, "good").refused);
  for (std::size_t n = 0; n < good.size(); ++n) {
    const std::vector<std::byte> cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n));
    CHECK(read(cut, "truncated").refused, "cut at byte %zu", n);
  }
}

void test_every_byte_changed() {
  const auto [good, header_bytes] = test::good_file();
  std::size_t n_refused = 0;
  for (std::size_t i = 0; i < header_bytes; ++i) {
    for (const unsigned change : {0x01u, 0x80u, 0xFFu}) {
      auto bytes = good;
      bytes[i] ^= static_cast<std::byte>(change);
      n_refused += read(bytes, "changed").refused;
    }
  }
  CHECK(n_refused > header_bytes / 2, "%zu of %zu", n_refused, 3 * header_bytes);
}

// The smallest keys and tensors there are: most memory for a byte of the file.
void test_dense_file() {
  constexpr std::uint32_t n = 4096;
  const auto name = [](std::uint32_t i) { return std::string{char('0' + i / 64), char('0' + i % 64)}; };
  Builder b;
  b.header(n, n);
  for (std::uint32_t i = 0; i < n; ++i) b.key(name(i), ValueType::uint8).number<std::uint8_t>(1);
  for (std::uint32_t i = 0; i < n; ++i) b.tensor(name(i), {1}, 0, 32 * i);
  b.align().zeros(32 * n);
  const auto all = b.bytes();
  CHECK(!read(all, "dense").refused);
  auto no_data = all;
  no_data.resize(all.size() - 32 * n);
  no_data.shrink_to_fit();
  CHECK(read(no_data, "dense, without data").refused);
}

}  // namespace

int main() {
  test_corpus();
  test_every_truncation();
  test_every_byte_changed();
  test_dense_file();
  return test::failures();
}
