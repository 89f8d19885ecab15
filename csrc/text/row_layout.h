#pragma once
// Where the fields of a row lie and what a session takes for one. Rows are fixed-size structs whose layout comes from
// Python (kvtape.session.row_types), so that one ring, one check and one renderer serve every type of row.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

namespace kvtape::text {

constexpr std::int64_t kNoTimestamp = std::numeric_limits<std::int64_t>::min();
constexpr double kMaxMagnitude = 1e15;  // of a number; below 2^53, so that whole ones are exact
constexpr std::int64_t kMaxInteger = 1'000'000'000'000'000;
constexpr std::int64_t kMinTime = -62'135'596'800;  // year 1
constexpr std::int64_t kMaxTime = 253'402'300'799;  // the end of year 9999

enum class FieldKind : std::uint8_t {
  time,     // int64, Unix seconds or kNoTimestamp
  number,   // double
  integer,  // int64
  name,     // uint16, index into the session's table of that field: text travels once, rows stay fixed-size
};

struct RowField {
  FieldKind kind;
  std::size_t offset;  // in the row, in bytes
};

struct RowLayout {
  std::size_t row_bytes;
  std::vector<RowField> fields;
};

template <class T>
T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// value: of the field; n_names: size of the table where it is a name.
template <FieldKind kind>
bool is_valid(const std::byte* value, std::size_t n_names) noexcept {
  if constexpr (kind == FieldKind::number) {
    return std::fabs(load<double>(value)) <= kMaxMagnitude;  // false for NaN
  } else if constexpr (kind == FieldKind::name) {
    return load<std::uint16_t>(value) < n_names;
  } else {
    const auto whole = load<std::int64_t>(value);
    if constexpr (kind == FieldKind::integer) return whole >= -kMaxInteger && whole <= kMaxInteger;
    return whole == kNoTimestamp || (whole >= kMinTime && whole <= kMaxTime);
  }
}

// Returns how many values of a column are valid before the first that is not.
template <FieldKind kind>
std::size_t count_valid_column(const std::byte* column, std::size_t row_bytes, std::size_t n_rows,
                               std::size_t n_names) noexcept {
  const std::byte* value = column;
  const std::byte* const end = column + n_rows * row_bytes;
  while (value != end && is_valid<kind>(value, n_names)) value += row_bytes;
  return static_cast<std::size_t>(value - column) / row_bytes;
}

// Returns how many rows are valid before the first that is not. rows: whole ones; n_names: [n_name_fields], in order.
inline std::size_t count_valid(std::span<const std::byte> rows, const RowLayout& layout,
                               std::span<const std::size_t> n_names) noexcept {
  constexpr std::size_t kBlockRows = 128;  // of some 50 bytes: a block stays in L1 for all its columns
  const std::size_t n_rows = rows.size() / layout.row_bytes;
  for (std::size_t begin = 0; begin < n_rows; begin += kBlockRows) {
    const std::size_t n_block = std::min(kBlockRows, n_rows - begin);
    std::size_t n_valid = n_block;
    auto n_table = n_names.begin();
    for (const RowField& field : layout.fields) {
      const std::byte* column = rows.data() + begin * layout.row_bytes + field.offset;
      switch (field.kind) {
        case FieldKind::time:
          n_valid = count_valid_column<FieldKind::time>(column, layout.row_bytes, n_valid, 0);
          break;
        case FieldKind::number:
          n_valid = count_valid_column<FieldKind::number>(column, layout.row_bytes, n_valid, 0);
          break;
        case FieldKind::integer:
          n_valid = count_valid_column<FieldKind::integer>(column, layout.row_bytes, n_valid, 0);
          break;
        case FieldKind::name:
          n_valid = count_valid_column<FieldKind::name>(column, layout.row_bytes, n_valid, *n_table++);
          break;
      }
    }
    if (n_valid < n_block) return begin + n_valid;
  }
  return n_rows;
}

}  // namespace kvtape::text
