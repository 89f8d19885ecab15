#pragma once
// A candle, and what a session takes for one.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace kvtape::text {

constexpr std::int64_t kNoTimestamp = std::numeric_limits<std::int64_t>::min();
constexpr double kMaxMagnitude = 1e15;              // of a price or a volume
constexpr std::int64_t kMinTime = -62'135'596'800;  // year 1
constexpr std::int64_t kMaxTime = 253'402'300'799;  // the end of year 9999

// The layout of kvtape.session.rows.OHLCV.
struct OhlcvRow {
  std::int64_t timestamp;  // Unix seconds, or kNoTimestamp
  double open, high, low, close, volume;
  std::uint16_t symbol;  // index into the session's table
};

inline bool is_valid(const OhlcvRow& row, std::size_t n_symbols) noexcept {
  const auto fine = [](double value) { return std::fabs(value) <= kMaxMagnitude; };  // false for NaN
  return fine(row.open) && fine(row.high) && fine(row.low) && fine(row.close) && fine(row.volume) &&
         (row.timestamp == kNoTimestamp || (row.timestamp >= kMinTime && row.timestamp <= kMaxTime)) &&
         row.symbol < n_symbols;
}

// Returns how many rows are valid before the first that is not.
inline std::size_t count_valid(std::span<const OhlcvRow> rows, std::size_t n_symbols) noexcept {
  std::size_t n = 0;
  while (n < rows.size() && is_valid(rows[n], n_symbols)) ++n;
  return n;
}

}  // namespace kvtape::text
