#include "text/reasoning_span.h"

#include <algorithm>

#include "base/error.h"

namespace kvtape::text {
namespace {

// How many of the first bytes of `text` are among `characters`.
std::size_t n_leading(std::string_view text, std::string_view characters) {
  return std::min(text.find_first_not_of(characters), text.size());
}

}  // namespace

ReasoningReader::ReasoningReader(const ReasoningSpan& span)
    : open_(span.open), close_(span.close), state_(span.opened ? State::inside : State::before) {
  if (span.open.empty() || span.close.empty()) {
    throw base::Error(base::ErrorCode::invalid_argument, "a reasoning marker is empty");
  }
}

std::string_view ReasoningReader::read(std::string_view bytes, std::string& reasoning) {
  if (state_ == State::before) bytes = read_before(bytes, reasoning);
  was_inside_ = state_ == State::inside;
  if (state_ == State::inside) {
    std::size_t n = 0;
    while (n < bytes.size() && state_ == State::inside) {
      if (close_.push(bytes[n++])) state_ = State::behind;
    }
    reasoning += bytes.substr(0, n);
    bytes.remove_prefix(n);
  }
  if (state_ == State::behind) {
    const std::size_t n = n_leading(bytes, "\r\n");
    reasoning += bytes.substr(0, n);
    bytes.remove_prefix(n);
    if (!bytes.empty()) state_ = State::answer;
  }
  return bytes;
}

// What is left to read when the reply is known to reason or not; nothing before that.
std::string_view ReasoningReader::read_before(std::string_view bytes, std::string& reasoning) {
  held_ += bytes;
  const std::size_t n_blanks = n_leading(held_, " \t\r\n");
  const std::string_view begun = std::string_view(held_).substr(n_blanks);
  if (n_blanks <= kMaxBlanks) {
    if (begun.starts_with(open_)) {
      state_ = State::inside;
      reasoning.append(held_, 0, n_blanks + open_.size());
      return begun.substr(open_.size());
    }
    if (open_.starts_with(begun)) return {};
  }
  state_ = State::answer;
  return held_;
}

std::string_view ReasoningReader::finish() {
  if (state_ != State::before) return {};
  state_ = State::answer;
  return held_;
}

}  // namespace kvtape::text
