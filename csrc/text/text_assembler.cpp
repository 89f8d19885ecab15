#include "text/text_assembler.h"

#include <utility>

namespace kvtape::text {

TextAssembler::TextAssembler(std::shared_ptr<const TokenBytes> token_bytes, std::span<const std::string> stops)
    : token_bytes_(std::move(token_bytes)), stops_(stops) {}

TextAssembler::Piece TextAssembler::push(std::int32_t token_id) {
  Piece piece;
  const std::string_view bytes = token_bytes_->bytes(token_id);
  if (stops_.stopped()) return {.text = {}, .stopped = true};
  scratch_.clear();
  piece.stopped = stops_.push(bytes, scratch_);
  utf8_.push(scratch_, piece.text);
  if (piece.stopped) utf8_.flush(piece.text);
  return piece;
}

std::string TextAssembler::finish() {
  std::string text;
  scratch_.clear();
  stops_.flush(scratch_);
  utf8_.push(scratch_, text);
  utf8_.flush(text);
  return text;
}

}  // namespace kvtape::text
