#include "text/row_text.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "text/format_value.h"

namespace kvtape::text {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw base::Error(base::ErrorCode::invalid_argument, "rows: " + message);
}

}  // namespace

RowText::RowText(RowFormat format) : format_(std::move(format)), names_(format_.n_tables) {
  if (format_.units.size() > kMaxUnits) refuse("a series has at most " + std::to_string(kMaxUnits) + " units");
  const bool has_time = format_.time_offset + sizeof(std::int64_t) <= format_.row_bytes;
  const bool has_series = !format_.series_offset || *format_.series_offset + sizeof(std::uint16_t) <= format_.row_bytes;
  if (!has_time || !has_series) refuse("a field ends behind its row");
  if (format_.series_offset && format_.n_tables == 0) refuse("a series needs a table of names");
  for (const RowColumn& column : format_.columns) {
    const std::size_t size = column.form == ColumnForm::name ? sizeof(std::uint16_t) : sizeof(double);
    if (column.offset + size > format_.row_bytes) refuse("a column ends behind its row");
    const bool is_scaled = column.form == ColumnForm::units || column.form == ColumnForm::offset;
    if (column.form == ColumnForm::name && column.index >= format_.n_tables) refuse("a name needs its table");
    if (is_scaled && column.index >= kMaxUnits) refuse("a column has no unit " + std::to_string(column.index));
  }
  if (!format_.series_offset) series_.emplace_back();
}

void RowText::add_name(std::size_t table, std::string name) {
  if (table >= names_.size()) refuse("there is no table " + std::to_string(table) + " of names");
  names_[table].push_back(std::move(name));
  if (table == 0 && format_.series_offset) series_.emplace_back();
}

void RowText::add_series(std::size_t index, SeriesScale scale) {
  if (!format_.series_offset || index >= series_.size()) refuse("there is no series " + std::to_string(index));
  const auto positive = [](double unit) { return std::isfinite(unit) && unit > 0; };
  if (scale.units.size() != format_.units.size() || !std::ranges::all_of(scale.units, positive) ||
      scale.interval.value_or(1) <= 0) {
    refuse("units and interval of " + names_[0][index] + " must be positive");
  }
  if (!first_) first_ = index;
  Series& series = series_[index];
  series.known = true;
  series.introduced = index == *first_;
  series.clock = RowClock(scale.interval, scale.weekdays_only);
  std::ranges::copy(scale.units, series.units.begin());
  series.scale = std::move(scale);
}

std::string RowText::header() const {
  std::string text;
  if (format_.units.empty()) return text;
  if (!first_) refuse("a header needs a first series");
  append_scale(text, names_[0][*first_], series_[*first_].scale);
  return text;
}

RenderedRows RowText::render(std::span<const std::byte> rows) {
  check_names(rows);
  const std::size_t n_rows = rows.size() / format_.row_bytes;
  RenderedRows out;
  out.text.reserve(n_rows * 48);
  out.offsets.reserve(n_rows + 1);
  out.offsets.push_back(0);
  for (std::size_t i = 0; i < n_rows; ++i) {
    append_row(rows.data() + i * format_.row_bytes, out.text);
    out.offsets.push_back(static_cast<std::int64_t>(out.text.size()));
  }
  return out;
}

void RowText::check_names(std::span<const std::byte> rows) const {
  const auto check = [&](std::size_t offset, std::size_t table) {
    const std::size_t n_names = names_[table].size();
    for (std::size_t i = 0; i < rows.size() / format_.row_bytes; ++i) {
      const std::size_t index = load<std::uint16_t>(rows.data() + i * format_.row_bytes + offset);
      const bool fine = index < n_names && (table != 0 || !format_.first_is_unnamed || series_[index].known);
      if (fine) continue;
      refuse("row " + std::to_string(i) + " has index " + std::to_string(index) + " in a table of " +
             std::to_string(n_names) + " names");
    }
  };
  if (format_.series_offset) check(*format_.series_offset, 0);
  for (const RowColumn& column : format_.columns) {
    if (column.form == ColumnForm::name) check(column.offset, column.index);
  }
}

// "AAPL: price unit 0.1, volume unit 1000000, every weekday.\n"
void RowText::append_scale(std::string& text, const std::string& name, const SeriesScale& scale) const {
  text += name;
  for (std::size_t i = 0; i < scale.units.size(); ++i) {
    text.append(i == 0 ? ": " : ", ").append(format_.units[i]).append(" unit ");
    append_decimal(text, scale.units[i]);
  }
  if (scale.interval == kDay) {
    text += scale.weekdays_only ? ", every weekday" : ", every day";
  } else if (scale.interval) {
    text += ", every ";
    append_integer(text, *scale.interval);
    text += " s";
  }
  text += ".\n";
}

void RowText::append_row(const std::byte* row, std::string& text) {
  const std::size_t index = format_.series_offset ? load<std::uint16_t>(row + *format_.series_offset) : 0;
  const auto timestamp = load<std::int64_t>(row + format_.time_offset);
  Series& series = series_[index];
  const bool is_named = format_.first_is_unnamed && index != *first_;
  if (format_.style == RowStyle::compact) {
    if (!format_.units.empty() && !series.introduced) append_scale(text, names_[0][index], series.scale);
    series.introduced = true;
    if (is_named) text.append(names_[0][index]).append(" ");
    append_clock(series, timestamp, text);
  } else {
    if (is_named) text.append(names_[0][index]).append(",");
    if (timestamp != kNoTimestamp) append_time(text, timestamp);
  }
  append_columns(row, series, text);
  text += '\n';
}

void RowText::append_clock(Series& series, std::int64_t timestamp, std::string& text) const {
  const std::optional<std::int64_t> expected = series.clock.expected();
  if (timestamp == kNoTimestamp) {
    if (expected) text += "@- ";
    series.clock.saw_none();
  } else if (expected == timestamp) {
    series.clock.saw_expected(timestamp);
  } else {
    text += '@';
    append_time(text, timestamp);
    text += ' ';
    series.clock.saw_written(timestamp);
  }
}

void RowText::append_columns(const std::byte* row, const Series& series, std::string& text) const {
  double base = 0;
  for (const RowColumn& column : format_.columns) {
    if (column.before != 0) text += column.before;
    switch (column.form) {
      case ColumnForm::exact: append_decimal(text, load<double>(row + column.offset)); break;
      case ColumnForm::rounded: append_rounded(text, load<double>(row + column.offset), column.n_digits); break;
      case ColumnForm::units:
        base = std::rint(load<double>(row + column.offset) / series.units[column.index]);
        append_whole(text, base, false);
        break;
      case ColumnForm::offset:
        append_whole(text, std::rint(load<double>(row + column.offset) / series.units[column.index]) - base, true);
        break;
      case ColumnForm::integer: append_integer(text, load<std::int64_t>(row + column.offset)); break;
      case ColumnForm::name: text += names_[column.index][load<std::uint16_t>(row + column.offset)]; break;
    }
  }
}

}  // namespace kvtape::text
