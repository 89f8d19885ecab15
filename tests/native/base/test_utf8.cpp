// Every character, and every way to break one.

#include "base/utf8.h"

#include <string>

#include "check.h"

namespace {

using namespace kvtape::base;

std::string encoded(std::uint32_t c) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | (c >> 6)), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | (c >> 12)), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | (c >> 18)), tail(12), tail(6), tail(0)};
}

void test_every_character() {
  for (std::uint32_t c = 0; c <= 0x110000; ++c) {
    const std::string text = encoded(c);
    const Utf8Step step = utf8_step(text);
    const bool character = c < 0x110000 && (c < 0xD800 || c > 0xDFFF);
    if ((step.kind == Utf8Kind::whole && step.n_bytes == text.size()) != character) CHECK(false, "U+%04X", c);
    for (std::size_t n = 1; character && n < text.size(); ++n) {
      const Utf8Step cut = utf8_step(std::string_view(text).substr(0, n));
      if (cut.kind != Utf8Kind::cut || cut.n_bytes != n) CHECK(false, "U+%04X cut at %zu", c, n);
    }
  }
  CHECK(is_utf8(encoded(0x7FF) + encoded(0xFFFF) + encoded(0x10FFFF)));
}

void test_what_is_none() {
  const auto invalid = [](std::string_view text, std::size_t n_bytes) {
    const Utf8Step step = utf8_step(text);
    return step.kind == Utf8Kind::invalid && step.n_bytes == n_bytes && !is_utf8(text);
  };
  CHECK(invalid("\x80", 1) && invalid("\xBF", 1) && invalid("\xFF", 1) && invalid("\xF5", 1));
  CHECK(invalid("\xC0\x80", 1) && invalid("\xC1\xBF", 1));              // overlong
  CHECK(invalid("\xE0\x9F\xBF", 1) && invalid("\xF0\x8F\xBF\xBF", 1));  // overlong
  CHECK(invalid("\xED\xA0\x80", 1) && invalid("\xF4\x90\x80\x80", 1));  // surrogate, past U+10FFFF
  CHECK(invalid("\xC3"
                "A",
                1) &&
        invalid("\xE2\x82"
                "A",
                2) &&
        invalid("\xF0\x9F\x99"
                "A",
                3));
  CHECK(!is_utf8("plain\xE2\x82") && is_utf8("") && is_utf8("plain"));
}

}  // namespace

int main() {
  test_every_character();
  test_what_is_none();
  return kvtape::test::failures();
}
