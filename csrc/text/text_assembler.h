#pragma once
// The text of one generation: token ids in, whole characters out, ended by the first stop string. However the same bytes
// are cut into tokens, the text is the same.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/reasoning_span.h"
#include "text/stop_matcher.h"
#include "text/token_bytes.h"
#include "text/utf8.h"

namespace kvtape::text {

struct ShownToken {  // a control token whose text is part of this generation's
  std::int32_t id;
  std::string bytes;
};

struct TextRules {                // what a generation's text obeys
  std::vector<std::string> stop;  // ends the text; looked for in the answer alone, where there is reasoning
  std::vector<ShownToken> shown = {};
  std::optional<ReasoningSpan> reasoning = {};
};

class TextAssembler {
 public:
  struct Piece {
    std::string text;      // whole characters; may be empty
    bool stopped = false;  // a stop string is complete: neither it nor anything after it is text
  };

  // Throws invalid_argument for an empty stop string or marker, or a shown id outside the table.
  TextAssembler(std::shared_ptr<const TokenBytes> token_bytes, const TextRules& rules);

  Piece push(std::int32_t token_id);  // throws invalid_argument for an id outside the table

  // Ends the text: what was held back, which is nothing after a stop. A stop string may be found only here.
  Piece finish();

  [[nodiscard]] std::string_view bytes(std::int32_t token_id) const;  // throws as push()

  // Which of the rules' stop strings ended the text.
  [[nodiscard]] std::optional<std::size_t> matched_stop() const noexcept { return stops_.matched(); }

  // Whether the next token is drawn inside the reasoning, and whether the last one pushed was part of it.
  [[nodiscard]] bool inside_reasoning() const noexcept { return reasoning_ && reasoning_->inside(); }
  [[nodiscard]] bool was_reasoning() const noexcept { return reasoning_ && reasoning_->was_inside(); }

 private:
  std::shared_ptr<const TokenBytes> token_bytes_;
  std::vector<ShownToken> shown_;
  std::optional<ReasoningReader> reasoning_;
  bool stop_inside_;
  StopMatcher stops_;
  Utf8Assembler utf8_;
  std::string scratch_;
};

}  // namespace kvtape::text
