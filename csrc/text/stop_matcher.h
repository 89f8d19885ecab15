#pragma once
// Looks for several strings in a stream of bytes, wherever the stream is cut. The string that is complete first wins; of
// two that end together, the longer. Bytes that may be the beginning of one are held back until that is decided.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace kvtape::text {

class StopMatcher {
 public:
  explicit StopMatcher(std::span<const std::string> stops);  // throws invalid_argument where one is empty

  // Appends to `out` the bytes that are certain to stand before any match. True once a match is complete: `out` has then
  // got everything before it, and what follows is dropped, in this call and later ones.
  bool push(std::string_view bytes, std::string& out);

  // Ends the text: appends what was held back, which is nothing after a match.
  void flush(std::string& out);

  [[nodiscard]] bool stopped() const noexcept { return matched_.has_value(); }
  [[nodiscard]] std::optional<std::size_t> matched() const noexcept { return matched_; }  // which of the stops it was

 private:
  std::vector<Pattern> stops_;
  std::string held_;
  std::optional<std::size_t> matched_;
};

}  // namespace kvtape::text
