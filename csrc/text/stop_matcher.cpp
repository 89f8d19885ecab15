#include "text/stop_matcher.h"

#include <algorithm>

#include "base/error.h"

namespace kvtape::text {

StopMatcher::StopMatcher(std::span<const std::string> stops) {
  stops_.reserve(stops.size());
  for (const auto& text : stops) {
    if (text.empty()) throw base::Error(base::ErrorCode::invalid_argument, "a stop string is empty");
    stops_.emplace_back(text);
  }
}

bool StopMatcher::push(std::string_view bytes, std::string& out) {
  if (stopped()) return true;
  if (stops_.empty()) {
    out += bytes;
    return false;
  }
  std::size_t n_open = 0;  // bytes at the end that may begin a match
  for (const char byte : bytes) {
    held_ += byte;
    std::size_t n_match = 0;
    n_open = 0;
    for (std::size_t i = 0; i < stops_.size(); ++i) {
      Pattern& stop = stops_[i];
      if (stop.push(byte) && stop.size() > n_match) {
        n_match = stop.size();
        matched_ = i;
      }
      n_open = std::max(n_open, stop.n_matched());
    }
    if (stopped()) {
      out.append(held_, 0, held_.size() - n_match);
      held_.clear();
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
  for (auto& stop : stops_) stop.reset();
}

}  // namespace kvtape::text
