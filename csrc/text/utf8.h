#pragma once
// Bytes in, whole characters out, wherever the bytes are cut. What can never become a character is shown as U+FFFD, one
// for each maximal subpart: all pieces together are what decoding the whole at once gives.

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/utf8.h"

namespace kvtape::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

class Utf8Assembler {
 public:
  // Appends to `out` every character that is complete by now.
  void push(std::string_view bytes, std::string& out) {
    std::string joined;
    if (!held_.empty()) {
      joined = std::move(held_);
      joined += bytes;
      bytes = joined;
      held_.clear();
    }
    while (!bytes.empty()) {
      const base::Utf8Step step = base::utf8_step(bytes);
      if (step.kind == base::Utf8Kind::cut) {
        held_ = bytes;
        return;
      }
      out += step.kind == base::Utf8Kind::whole ? bytes.substr(0, step.n_bytes) : kReplacement;
      bytes.remove_prefix(step.n_bytes);
    }
  }

  // Ends the text: a character that was cut off becomes one U+FFFD.
  void flush(std::string& out) {
    if (!held_.empty()) out += kReplacement;
    held_.clear();
  }

 private:
  std::string held_;  // the first 1 to 3 bytes of a character
};

}  // namespace kvtape::text
