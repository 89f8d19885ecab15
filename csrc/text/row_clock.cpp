#include "text/row_clock.h"

namespace kvtape::text {
namespace {

bool is_weekend(std::int64_t timestamp) noexcept {
  const std::int64_t weekday =
      floor_div(timestamp, kDay) - 7 * floor_div(floor_div(timestamp, kDay), 7);  // 0: Thursday
  return weekday == 2 || weekday == 3;
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

}  // namespace kvtape::text
