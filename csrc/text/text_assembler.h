#pragma once
// The text of one generation: token ids in, whole characters out, ended by the first stop string. However the same bytes
// are cut into tokens, the text is the same.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "text/stop_matcher.h"
#include "text/token_bytes.h"
#include "text/utf8.h"

namespace kvtape::text {

class TextAssembler {
 public:
  struct Piece {
    std::string text;      // whole characters; may be empty
    bool stopped = false;  // a stop string is complete: neither it nor anything after it is text
  };

  TextAssembler(std::shared_ptr<const TokenBytes> token_bytes, std::span<const std::string> stops);

  Piece push(std::int32_t token_id);  // throws invalid_argument for an id outside the table

  // Ends the text: what was held back, which is nothing after a stop.
  std::string finish();

 private:
  std::shared_ptr<const TokenBytes> token_bytes_;
  StopMatcher stops_;
  Utf8Assembler utf8_;
  std::string scratch_;
};

}  // namespace kvtape::text
