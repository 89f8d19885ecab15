#pragma once
// When the next row of a series is expected: the last time plus an interval, so that a row's text need not say it.

#include <cstdint>
#include <optional>

namespace kvtape::text {

constexpr std::int64_t kDay = 86400;

// a / b rounded down, for b > 0.
constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept { return a / b - (a % b < 0); }

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

}  // namespace kvtape::text
