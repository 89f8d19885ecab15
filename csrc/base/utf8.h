#pragma once
// One step through UTF-8 text: the next whole character, or the next piece that is none. The pieces are the maximal
// subparts of Unicode's recommended practice, so that one U+FFFD for each agrees with what web browsers and Python show.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvtape::base {

enum class Utf8Kind {
  whole,    // one character
  invalid,  // bytes that no following byte can turn into a character
  cut,      // the text ends inside a character
};

struct Utf8Step {
  Utf8Kind kind;
  std::size_t n_bytes;  // 1 to 4
};

// text must not be empty.
constexpr Utf8Step utf8_step(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {Utf8Kind::whole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Kind::invalid, 1};
  const std::size_t n_bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte alone rules out overlong forms, surrogates and what lies past U+10FFFF.
  std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < n_bytes; ++i) {
    if (i == text.size()) return {Utf8Kind::cut, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Kind::invalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Kind::whole, n_bytes};
}

constexpr bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (step.kind != Utf8Kind::whole) return false;
    text.remove_prefix(step.n_bytes);
  }
  return true;
}

}  // namespace kvtape::base
