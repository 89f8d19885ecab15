#pragma once
// When the next row of a series is expected: the last time plus an interval, so that a row's text need not say it.

#include <cstdint>
#include <optional>

namespace kvtape::text {

constexpr std::int64_t kDay = 86400;

// a / b rounded down, for b > 0.
constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept { return a / b - (a % b < 0); }

inline bool is_weekend(std::int64_t timestamp) noexcept {
  const std::int64_t weekday =
      floor_div(timestamp, kDay) - 7 * floor_div(floor_div(timestamp, kDay), 7);  // 0: Thursday
  return weekday == 2 || weekday == 3;
}

// The clock of one series, as the reader of its text also keeps it. An interval that was not given is learned from the
// first two times, and changes when two written times in a row are equally far apart.
class RowClock {
 public:
  explicit RowClock(std::optional<std::int64_t> interval = {}, bool weekdays_only = false)
      : interval_(interval), weekdays_only_(weekdays_only) {}

  [[nodiscard]] std::optional<std::int64_t> expected() const noexcept;
  void saw_expected(std::int64_t timestamp) noexcept;
  void saw_written(std::int64_t timestamp) noexcept;
  void saw_none() noexcept;

 private:
  std::optional<std::int64_t> last_, last_written_gap_, interval_;
  bool weekdays_only_;  // with an interval of a day: Saturdays and Sundays (UTC) are stepped over
};

inline std::optional<std::int64_t> RowClock::expected() const noexcept {
  if (!last_ || !interval_) return std::nullopt;
  std::int64_t next = *last_ + *interval_;
  if (weekdays_only_ && interval_ == kDay) {
    while (is_weekend(next)) next += kDay;
  }
  return next;
}

inline void RowClock::saw_expected(std::int64_t timestamp) noexcept {
  last_ = timestamp;
  last_written_gap_.reset();
}

inline void RowClock::saw_written(std::int64_t timestamp) noexcept {
  if (last_) {
    const std::int64_t gap = timestamp - *last_;
    if (gap > 0 && (!interval_ || last_written_gap_ == gap)) interval_ = gap;
    last_written_gap_ = gap;
  }
  if (is_weekend(timestamp)) weekdays_only_ = false;
  last_ = timestamp;
}

inline void RowClock::saw_none() noexcept {
  last_.reset();
  last_written_gap_.reset();
}

}  // namespace kvtape::text
