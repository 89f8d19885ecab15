#pragma once
// Numbers and times as the text of a row: appended, short, and the same on every machine.

#include <cstdint>
#include <string>

namespace kvtape::text {

void append_integer(std::string& text, std::int64_t value);

// The shortest decimal without an exponent that reads back as the same double.
void append_decimal(std::string& text, double value);

// At most n_digits significant digits, but the whole part is never rounded and nothing is finer than 1e-12; no trailing
// zeros: 21.5, 1013.25, 0.00123457, 123456789. |value| <= 1e15.
void append_rounded(std::string& text, double value, int n_digits);

// A double that holds a whole number; `sign` also writes a plus.
void append_whole(std::string& text, double value, bool sign);

// 2013-03-01, 2013-03-01T14:30 or 2013-03-01T14:30:05 (UTC)
void append_time(std::string& text, std::int64_t timestamp);

}  // namespace kvtape::text
