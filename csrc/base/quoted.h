#pragma once
// A stranger's string, fit for an error message: quoted, escaped where it is not plain text, and short.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace kvtape::base {

inline std::string quoted(std::string_view text, std::size_t max_bytes = 80) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "'";
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    if (out.size() + 4 * step.n_bytes > max_bytes) {
      out += "...";
      break;
    }
    const auto lead = static_cast<std::uint8_t>(text[0]);
    if (step.kind == Utf8Kind::whole && lead >= 0x20 && lead != 0x7F) {
      out += text.substr(0, step.n_bytes);
    } else {
      for (const char c : text.substr(0, step.n_bytes)) {
        const auto byte = static_cast<std::uint8_t>(c);
        out += "\\x";
        out += digits[byte >> 4];
        out += digits[byte & 15];
      }
    }
    text.remove_prefix(step.n_bytes);
  }
  return out + "'";
}

}  // namespace kvtape::base
