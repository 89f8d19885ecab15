#pragma once
// The reasoning in front of an answer, in bytes: what kvtape.chat.reasoning tells clients apart, for what the engine has
// to know while it draws. A reply reasons if it begins, behind at most kMaxBlanks blanks, with the opening marker, or if
// the prompt has written that; reasoning ends with the first closing marker. Wherever tokens cut the bytes, the answer
// is the same.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace kvtape::text {

struct ReasoningSpan {  // kvtape.types.ReasoningSpan
  std::string open, close;
  bool opened = false;                       // the prompt has written the opening marker
  std::optional<std::int32_t> budget = {};   // tokens; then close_ids are forced
  std::vector<std::int32_t> close_ids = {};  // spell the closing marker, perhaps newlines around it
  bool stop_inside = false;                  // whether stop strings are looked for inside the reasoning, too
};

class ReasoningReader {
 public:
  static constexpr std::size_t kMaxBlanks = 1024;  // kvtape.chat.reasoning.MAX_BLANKS

  // Throws invalid_argument where a marker is empty.
  explicit ReasoningReader(const ReasoningSpan& span);

  // Reads a token's bytes. Appends to `reasoning` what is now known to be reasoning: its markers, blanks before them and
  // newlines behind them included. Returns what is now known to be answer; valid until the next call. Held back is only
  // what may yet turn out to begin the opening marker.
  std::string_view read(std::string_view bytes, std::string& reasoning);

  // Ends the reply: what was held back is answer.
  std::string_view finish();

  // Whether the next byte is inside the reasoning, as far as is known.
  [[nodiscard]] bool inside() const noexcept { return state_ == State::inside; }

  // Whether what was read last is part of the reasoning, its markers included, even where the answer begins in it.
  [[nodiscard]] bool was_inside() const noexcept { return was_inside_; }

 private:
  enum class State : std::uint8_t { before, inside, behind, answer };  // behind: newlines that are not answer yet

  [[nodiscard]] std::string_view read_before(std::string_view bytes, std::string& reasoning);

  std::string open_, held_;
  Pattern close_;
  State state_;
  bool was_inside_ = false;
};

}  // namespace kvtape::text
