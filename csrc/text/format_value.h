#pragma once
// Numbers and times as the text of a row: appended, short, and the same on every machine.

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>

namespace kvtape::text {

inline void append_integer(std::string& text, std::int64_t value) {
  char digits[24];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

// The shortest decimal without an exponent that reads back as the same double.
void append_decimal(std::string& text, double value);

// At most n_digits significant digits, but the whole part is never rounded and nothing is finer than 1e-12; no trailing
// zeros: 21.5, 1013.25, 0.00123457, 123456789. |value| <= 1e15.
void append_rounded(std::string& text, double value, int n_digits);

// A double that holds a whole number; `sign` also writes a plus.
inline void append_whole(std::string& text, double value, bool sign) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (sign && value >= 0) text += '+';
  if (std::fabs(value) <= kExact) {
    append_integer(text, static_cast<std::int64_t>(value));
  } else {
    append_decimal(text, value);
  }
}

// 2013-03-01, 2013-03-01T14:30 or 2013-03-01T14:30:05 (UTC)
void append_time(std::string& text, std::int64_t timestamp);

}  // namespace kvtape::text
