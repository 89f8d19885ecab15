#include "text/ohlcv_text.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace kvtape::text {
namespace {

constexpr std::int64_t kDay = 86400;

std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept { return a / b - (a % b < 0); }

bool is_weekend(std::int64_t timestamp) noexcept {
  const std::int64_t weekday =
      floor_div(timestamp, kDay) - 7 * floor_div(floor_div(timestamp, kDay), 7);  // 0: Thursday
  return weekday == 2 || weekday == 3;
}

void append_integer(std::string& text, std::int64_t value) {
  char digits[24];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append_padded(std::string& text, std::int64_t value, std::size_t width) {
  const std::string digits = std::to_string(value);
  text.append(digits.size() < width ? width - digits.size() : 0, '0');
  text += digits;
}

// The shortest decimal without an exponent that reads back as the same double.
void append_decimal(std::string& text, double value) {
  char digits[512];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed).ptr);
}

// A double that holds a whole number; `sign` also writes a plus.
void append_whole(std::string& text, double value, bool sign) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (sign && value >= 0) text += '+';
  if (std::fabs(value) <= kExact) {
    append_integer(text, static_cast<std::int64_t>(value));
  } else {
    append_decimal(text, value);
  }
}

// 2013-03-01, 2013-03-01T14:30 or 2013-03-01T14:30:05 (UTC)
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

// "AAPL: price unit 0.1, volume unit 1000000, every weekday.\n"
void append_scale(std::string& text, const OhlcvScale& scale) {
  text += scale.symbol;
  text += ": price unit ";
  append_decimal(text, scale.price_unit);
  text += ", volume unit ";
  append_decimal(text, scale.volume_unit);
  if (scale.interval == kDay) {
    text += scale.weekdays_only ? ", every weekday" : ", every day";
  } else if (scale.interval) {
    text += ", every ";
    append_integer(text, *scale.interval);
    text += " s";
  }
  text += ".\n";
}

}  // namespace

std::optional<std::int64_t> RowClock::expected() const noexcept {
  if (!last_ || !interval_) return std::nullopt;
  std::int64_t next = *last_ + *interval_;
  if (weekdays_only_ && interval_ == kDay) {
    while (is_weekend(next)) next += kDay;
  }
  return next;
}

void RowClock::saw_expected(std::int64_t timestamp) noexcept {
  last_ = timestamp;
  last_written_gap_.reset();
}

void RowClock::saw_written(std::int64_t timestamp) noexcept {
  if (last_) {
    const std::int64_t gap = timestamp - *last_;
    if (gap > 0 && (!interval_ || last_written_gap_ == gap)) interval_ = gap;
    last_written_gap_ = gap;
  }
  if (is_weekend(timestamp)) weekdays_only_ = false;
  last_ = timestamp;
}

void RowClock::saw_none() noexcept {
  last_.reset();
  last_written_gap_.reset();
}

void OhlcvText::add_symbol(OhlcvScale scale) {
  const auto positive = [](double unit) { return std::isfinite(unit) && unit > 0; };
  if (!positive(scale.price_unit) || !positive(scale.volume_unit) || scale.interval.value_or(1) <= 0) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "ohlcv: units and interval of " + scale.symbol + " must be positive, found " +
                          std::to_string(scale.price_unit) + ", " + std::to_string(scale.volume_unit) + ", " +
                          std::to_string(scale.interval.value_or(1)));
  }
  const RowClock clock(scale.interval, scale.weekdays_only);
  symbols_.push_back({.scale = std::move(scale), .clock = clock, .introduced = symbols_.empty()});
}

std::string OhlcvText::header() const {
  if (symbols_.empty()) throw base::Error(base::ErrorCode::invalid_argument, "ohlcv: a header needs a first symbol");
  const OhlcvScale& first = symbols_.front().scale;
  if (style_ == RowStyle::plain) return first.symbol + " candles, one a line: time,open,high,low,close,volume\n";
  std::string text =
      "Candles, one a line: close, then open, high, low relative to it, then volume; @ gives the time where it "
      "jumps.\n";
  append_scale(text, first);
  return text;
}

RenderedRows OhlcvText::render(std::span<const OhlcvRow> rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].symbol < symbols_.size()) continue;
    throw base::Error(base::ErrorCode::invalid_argument, "ohlcv: row " + std::to_string(i) + " has symbol index " +
                                                             std::to_string(rows[i].symbol) + " of " +
                                                             std::to_string(symbols_.size()));
  }
  RenderedRows out;
  out.text.reserve(rows.size() * 48);
  out.offsets.reserve(rows.size() + 1);
  out.offsets.push_back(0);
  for (const OhlcvRow& row : rows) {
    style_ == RowStyle::compact ? compact_row(row, out.text) : plain_row(row, out.text);
    out.offsets.push_back(static_cast<std::int64_t>(out.text.size()));
  }
  return out;
}

void OhlcvText::compact_row(const OhlcvRow& row, std::string& text) {
  Symbol& symbol = symbols_[row.symbol];
  if (!symbol.introduced) append_scale(text, symbol.scale);
  symbol.introduced = true;

  if (row.symbol != 0) text.append(symbol.scale.symbol).append(" ");
  const std::optional<std::int64_t> expected = symbol.clock.expected();
  if (row.timestamp == kNoTimestamp) {
    if (expected) text += "@- ";
    symbol.clock.saw_none();
  } else if (expected == row.timestamp) {
    symbol.clock.saw_expected(row.timestamp);
  } else {
    text += '@';
    append_time(text, row.timestamp);
    text += ' ';
    symbol.clock.saw_written(row.timestamp);
  }

  const double close = std::rint(row.close / symbol.scale.price_unit);
  append_whole(text, close, false);
  for (const double price : {row.open, row.high, row.low}) {
    text += ' ';
    append_whole(text, std::rint(price / symbol.scale.price_unit) - close, true);
  }
  text += ' ';
  append_whole(text, std::rint(row.volume / symbol.scale.volume_unit), false);
  text += '\n';
}

void OhlcvText::plain_row(const OhlcvRow& row, std::string& text) const {
  if (row.symbol != 0) text.append(symbols_[row.symbol].scale.symbol).append(",");
  if (row.timestamp != kNoTimestamp) append_time(text, row.timestamp);
  for (const double value : {row.open, row.high, row.low, row.close, row.volume}) {
    text += ',';
    append_decimal(text, value);
  }
  text += '\n';
}

}  // namespace kvtape::text
