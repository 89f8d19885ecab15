#include "text/stop_matcher.h"

#include <algorithm>

#include "base/error.h"

namespace kvtape::text {
namespace {

// border[i]: length of the longest proper prefix of text[0..i] that is its suffix too.
std::vector<std::size_t> borders(std::string_view text) {
  std::vector<std::size_t> border(text.size(), 0);
  std::size_t n = 0;
  for (std::size_t i = 1; i < text.size(); ++i) {
    while (n > 0 && text[i] != text[n]) n = border[n - 1];
    if (text[i] == text[n]) ++n;
    border[i] = n;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(std::span<const std::string> stops) {
  stops_.reserve(stops.size());
  for (const auto& text : stops) {
    if (text.empty()) throw base::Error(base::ErrorCode::invalid_argument, "a stop string is empty");
    stops_.push_back({.text = text, .border = borders(text)});
  }
}

bool StopMatcher::push(std::string_view bytes, std::string& out) {
  if (stopped_) return true;
  if (stops_.empty()) {
    out += bytes;
    return false;
  }
  std::size_t n_open = 0;  // bytes at the end that may begin a match
  for (const char byte : bytes) {
    held_ += byte;
    std::size_t n_match = 0;
    n_open = 0;
    for (auto& stop : stops_) {
      auto& n = stop.n_matched;
      while (n > 0 && stop.text[n] != byte) n = stop.border[n - 1];
      if (stop.text[n] == byte) ++n;
      if (n == stop.text.size()) n_match = std::max(n_match, n);
      n_open = std::max(n_open, n);
    }
    if (n_match > 0) {
      out.append(held_, 0, held_.size() - n_match);
      held_.clear();
      stopped_ = true;
      return true;
    }
  }
  if (!bytes.empty()) {
    out.append(held_, 0, held_.size() - n_open);
    held_.erase(0, held_.size() - n_open);
  }
  return false;
}

void StopMatcher::flush(std::string& out) {
  out += held_;
  held_.clear();
  for (auto& stop : stops_) stop.n_matched = 0;
}

}  // namespace kvtape::text
