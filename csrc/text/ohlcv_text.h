#pragma once
// Candles as text for a model: one short line a row, each row readable by itself. Two styles.
//
//   compact    AAPL: price unit 0.1, volume unit 1000000, every weekday.        the scale line, once a symbol
//              @2013-03-01 4305 +75 +77 -5 20                                   close, then open, high and low relative to it, volume
//              MSFT 2795 -23 +3 -43 35                                          a symbol other than the first is named
//   plain      2013-03-01,438,438.1799,429.98,430.47,19730300                   time,open,high,low,close,volume; nothing is rounded
//
// In compact a value is a whole number of units, so it stands for the truth to within half a unit. The time is written
// where it is not the one expected: the last of that symbol plus its interval (`every weekday` steps over Saturdays and
// Sundays, UTC). `@-` says that a row has no time where one was expected. An interval that was not given is learned from the
// first two times, and changes when two written times in a row are equally far apart; python/kvtape/session/row_text.py
// reads the lines back and keeps the same rules.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/ohlcv_row.h"

namespace kvtape::text {

enum class RowStyle { compact, plain };

struct OhlcvScale {
  std::string symbol;
  double price_unit = 1, volume_unit = 1;     // compact only
  std::optional<std::int64_t> interval = {};  // seconds between rows
  bool weekdays_only = false;                 // with an interval of a day
};

struct RenderedRows {
  std::string text;
  std::vector<std::int64_t> offsets;  // [n_rows + 1]: row i is text[offsets[i], offsets[i + 1])
};

// The clock of one symbol, as the reader of the text also keeps it.
class RowClock {
 public:
  RowClock(std::optional<std::int64_t> interval, bool weekdays_only)
      : interval_(interval), weekdays_only_(weekdays_only) {}

  [[nodiscard]] std::optional<std::int64_t> expected() const noexcept;
  void saw_expected(std::int64_t timestamp) noexcept;
  void saw_written(std::int64_t timestamp) noexcept;
  void saw_none() noexcept;

 private:
  std::optional<std::int64_t> last_, last_written_gap_, interval_;
  bool weekdays_only_;
};

class OhlcvText {
 public:
  explicit OhlcvText(RowStyle style) : style_(style) {}

  // Throws Error{invalid_argument} for units or an interval that are not positive.
  void add_symbol(OhlcvScale scale);

  // Two lines that explain the rows and give the scale of the first symbol; it stays in front of all rows.
  [[nodiscard]] std::string header() const;

  // Appends nothing to earlier text, but goes on from it: times, and which symbols have been introduced. Throws
  // Error{invalid_argument} for a symbol index that was not added.
  RenderedRows render(std::span<const OhlcvRow> rows);

 private:
  struct Symbol {
    OhlcvScale scale;
    RowClock clock;
    bool introduced;
  };
  void compact_row(const OhlcvRow& row, std::string& text);
  void plain_row(const OhlcvRow& row, std::string& text) const;

  RowStyle style_;
  std::vector<Symbol> symbols_;
};

}  // namespace kvtape::text
