#pragma once
// A position in bytes that nobody vouches for. Whatever would reach past their end throws, saying what was being read.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/quoted.h"
#include "gguf/format.h"

namespace kvtape::gguf {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie in the file");

[[noreturn]] inline void throw_corrupt(const std::string& message) {
  throw base::Error(base::ErrorCode::corrupt_file, "gguf: " + message);
}

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::size_t n_left() const noexcept { return bytes_.size() - position_; }

  // The bytes from here to where `end` is, which has been moved on from a copy of this one.
  [[nodiscard]] std::span<const std::byte> until(const Cursor& end) const noexcept {
    return bytes_.subspan(position_, end.position_ - position_);
  }

  std::span<const std::byte> take(std::uint64_t n_bytes, std::string_view what) {
    if (n_bytes > n_left()) {
      throw_corrupt(std::string(what) + " at byte " + std::to_string(position_) + " has " + std::to_string(n_bytes) +
                    " bytes, " + std::to_string(n_left()) + " are left");
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(n_bytes));
    position_ += static_cast<std::size_t>(n_bytes);
    return taken;
  }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // A count of things of which each takes at least min_item_bytes: refused where the bytes left cannot hold them.
  std::uint64_t count(std::size_t min_item_bytes, std::string_view what) {
    const auto n = number<std::uint64_t>(what);
    if (n > n_left() / min_item_bytes) {
      throw_corrupt(std::string(what) + " is " + std::to_string(n) + ", the " + std::to_string(n_left()) +
                    " bytes left hold at most " + std::to_string(n_left() / min_item_bytes));
    }
    return n;
  }

  std::string_view string(std::string_view what) {
    const auto bytes = take(number<std::uint64_t>(what), what);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!base::is_utf8(text)) throw_corrupt(std::string(what) + " is not UTF-8: " + base::quoted(text));
    return text;
  }

  // A key or the name of a tensor.
  std::string_view name(std::string_view what) {
    const auto text = string(what);
    if (text.empty() || text.size() > kMaxNameBytes) {
      throw_corrupt(std::string(what) + " has " + std::to_string(text.size()) + " bytes, wanted 1 to " +
                    std::to_string(kMaxNameBytes));
    }
    return text;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace kvtape::gguf
