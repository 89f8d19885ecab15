#include "text/format_value.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "text/row_clock.h"

namespace kvtape::text {
namespace {

constexpr int kMaxDecimals = 12;

void append_padded(std::string& text, std::int64_t value, std::size_t width) {
  const std::string digits = std::to_string(value);
  text.append(digits.size() < width ? width - digits.size() : 0, '0');
  text += digits;
}

}  // namespace

void append_decimal(std::string& text, double value) {
  char digits[512];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed).ptr);
}

void append_rounded(std::string& text, double value, int n_digits) {
  const double size = std::fabs(value);
  int n_decimals = n_digits - 1;
  for (double power = 10; n_decimals > 0 && size >= power; power *= 10) --n_decimals;
  for (double power = 1; n_decimals < kMaxDecimals && size < power && size > 0; power /= 10) ++n_decimals;

  char digits[64];
  const char* end = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed, n_decimals).ptr;
  if (n_decimals > 0) {
    while (end[-1] == '0') --end;
    if (end[-1] == '.') --end;
  }
  const std::string_view written(digits, static_cast<std::size_t>(end - digits));
  text += written == "-0" ? "0" : written;
}

void append_time(std::string& text, std::int64_t timestamp) {
  using namespace std::chrono;
  const std::int64_t day = floor_div(timestamp, kDay);
  const std::int64_t second = timestamp - day * kDay;
  const year_month_day date{sys_days{days{day}}};
  append_padded(text, static_cast<int>(date.year()), 4);
  text += '-';
  append_padded(text, static_cast<unsigned>(date.month()), 2);
  text += '-';
  append_padded(text, static_cast<unsigned>(date.day()), 2);
  if (second == 0) return;
  text += 'T';
  append_padded(text, second / 3600, 2);
  text += ':';
  append_padded(text, second / 60 % 60, 2);
  if (second % 60 == 0) return;
  text += ':';
  append_padded(text, second % 60, 2);
}

}  // namespace kvtape::text
