#pragma once
// Rows as text for a model: one short line a row, each row readable by itself. Which fields a line has, and in which
// form, is given by the type of row (kvtape.session.row_types). Two styles.
//
//   compact    AAPL: price unit 0.1, volume unit 1000000, every weekday.        the scale line, once a series
//              @2013-03-01 4305 +75 +77 -5 20                                   close, then open, high and low relative to it, volume
//              MSFT 2795 -23 +3 -43 35                                          a series other than the first is named
//              @2024-05-01T10:00 pump-3 21.5 18 25                              rows without units: sensor, value, low, high
//   plain      2013-03-01,438,438.1799,429.98,430.47,19730300                   time, then the fields; nothing is rounded
//
// In compact a value is a whole number of units, so it stands for the truth to within half a unit, or it is rounded to so
// many significant digits. The time is written where it is not the one expected: the last of that series plus its interval
// (`every weekday` steps over Saturdays and Sundays, UTC). `@-` says that a row has no time where one was expected.
// python/kvtape/session/row_text.py reads the lines of candles back and keeps the same rules.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/row_clock.h"
#include "text/row_layout.h"

namespace kvtape::text {

enum class RowStyle { compact, plain };

enum class ColumnForm : std::uint8_t {
  exact,    // a number as the shortest decimal
  rounded,  // a number to `n_digits`
  units,    // a number in whole units of its series
  offset,   // the same, relative to the last column in `units`, with its sign
  integer,
  name,
};

struct RowColumn {
  ColumnForm form;
  std::size_t offset;     // of the field in the row, in bytes
  std::size_t index = 0;  // units, offset: which unit; name: which table
  int n_digits = 0;       // rounded
  char before = ' ';      // what stands between the column in front and this one; 0: nothing
};

constexpr std::size_t kMaxUnits = 2;

struct RowFormat {
  RowStyle style;
  std::size_t row_bytes, time_offset;
  std::size_t n_tables = 0;  // of names
  std::optional<std::size_t>
      series_offset;               // a name of table 0: rows that share it are a series, with a clock of its own
  std::vector<std::string> units;  // of each series, at most kMaxUnits; their names in the scale line
  bool first_is_unnamed = false;   // the series that came first is the header's, its rows do not name it
  std::vector<RowColumn> columns;
};

struct SeriesScale {
  std::vector<double> units;                  // as many as the format has
  std::optional<std::int64_t> interval = {};  // seconds between rows
  bool weekdays_only = false;                 // with an interval of a day
};

struct RenderedRows {
  std::string text;
  std::vector<std::int64_t> offsets;  // [n_rows + 1]: row i is text[offsets[i], offsets[i + 1])
};

class RowText {
 public:
  // Throws Error{invalid_argument} for a format that does not hold together.
  explicit RowText(RowFormat format);

  [[nodiscard]] std::size_t row_bytes() const noexcept { return format_.row_bytes; }

  // Gives the next index of a table its text. Throws Error{invalid_argument} for a table that there is not.
  void add_name(std::size_t table, std::string name);

  // Before the first row of a series of a format that has units or leaves the first series unnamed. Throws
  // Error{invalid_argument} for a name that was not added, and for units or an interval that are not positive.
  void add_series(std::size_t index, SeriesScale scale);

  // The scale line of the first series; empty where series have no units.
  [[nodiscard]] std::string header() const;

  // Appends nothing to earlier text, but goes on from it: times, and which series have been introduced. rows: whole ones.
  // Throws Error{invalid_argument} for a name that was not added; nothing has changed then.
  RenderedRows render(std::span<const std::byte> rows);

 private:
  struct Series {
    std::array<double, kMaxUnits> units = {1, 1};
    SeriesScale scale;
    RowClock clock;
    bool known = false, introduced = false;
  };

  void check_names(std::span<const std::byte> rows) const;
  void append_scale(std::string& text, const std::string& name, const SeriesScale& scale) const;
  void append_row(const std::byte* row, std::string& text);
  void append_clock(Series& series, std::int64_t timestamp, std::string& text) const;
  void append_columns(const std::byte* row, const Series& series, std::string& text) const;

  RowFormat format_;
  std::vector<std::vector<std::string>> names_;  // [n_tables][...]
  std::vector<Series> series_;                   // by index in table 0, or a single one
  std::optional<std::size_t> first_;             // the series that came first
};

}  // namespace kvtape::text
