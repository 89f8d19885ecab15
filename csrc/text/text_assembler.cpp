#include "text/text_assembler.h"

#include <algorithm>
#include <utility>

namespace kvtape::text {

TextAssembler::TextAssembler(std::shared_ptr<const TokenBytes> token_bytes, const TextRules& rules)
    : token_bytes_(std::move(token_bytes)),
      shown_(rules.shown),
      stop_inside_(rules.reasoning && rules.reasoning->stop_inside),
      stops_(rules.stop) {
  if (rules.reasoning) reasoning_.emplace(*rules.reasoning);
  for (const auto& token : shown_) (void)token_bytes_->bytes(token.id);
}

std::string_view TextAssembler::bytes(std::int32_t token_id) const {
  const auto shown = std::ranges::find(shown_, token_id, &ShownToken::id);
  return shown != shown_.end() ? shown->bytes : token_bytes_->bytes(token_id);
}

TextAssembler::Piece TextAssembler::push(std::int32_t token_id) {
  Piece piece;
  std::string_view unread = bytes(token_id);
  if (stops_.stopped()) return {.text = {}, .stopped = true};
  scratch_.clear();
  if (reasoning_) {
    const std::string_view answer = reasoning_->read(unread, scratch_);
    if (stop_inside_)
      scratch_.clear();
    else
      unread = answer;
  }
  piece.stopped = stops_.push(unread, scratch_);
  utf8_.push(scratch_, piece.text);
  if (piece.stopped) utf8_.flush(piece.text);
  return piece;
}

TextAssembler::Piece TextAssembler::finish() {
  Piece piece;
  scratch_.clear();
  if (reasoning_ && !stop_inside_) stops_.push(reasoning_->finish(), scratch_);
  stops_.flush(scratch_);
  utf8_.push(scratch_, piece.text);
  utf8_.flush(piece.text);
  piece.stopped = stops_.stopped();
  return piece;
}

}  // namespace kvtape::text
