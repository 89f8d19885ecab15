#pragma once
// One string, looked for in a stream of bytes after Knuth, Morris and Pratt: nothing is read twice.

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace kvtape::text {

class Pattern {
 public:
  explicit Pattern(std::string text) : text_(std::move(text)), border_(text_.size(), 0) {  // text: not empty
    for (std::size_t i = 1, n = 0; i < text_.size(); ++i) {
      n = next(n, text_[i]);
      border_[i] = n;
    }
  }

  // Reads a byte; true where the string is complete with it.
  bool push(char byte) noexcept {
    n_matched_ = next(n_matched_, byte);
    if (n_matched_ < text_.size()) return false;
    n_matched_ = border_.back();
    return true;
  }
  void reset() noexcept { n_matched_ = 0; }

  [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }
  // Length of the longest suffix of the stream that is a beginning of the string, itself apart.
  [[nodiscard]] std::size_t n_matched() const noexcept { return n_matched_; }

 private:
  [[nodiscard]] std::size_t next(std::size_t n, char byte) const noexcept {
    while (n > 0 && text_[n] != byte) n = border_[n - 1];
    return text_[n] == byte ? n + 1 : n;
  }

  std::string text_;
  std::vector<std::size_t> border_;  // [i]: length of the longest proper beginning of text_[0..i] that ends it too
  std::size_t n_matched_ = 0;
};

}  // namespace kvtape::text
