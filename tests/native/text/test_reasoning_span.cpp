// Against the definition, on every word over pieces of the markers and every cut.

#include "text/reasoning_span.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "check.h"

namespace {

using kvtape::text::ReasoningReader;
using kvtape::text::ReasoningSpan;

struct Split {
  std::string reasoning, answer;
  bool inside;
  bool operator==(const Split&) const = default;
};

Split by_definition(const std::string& stream, const ReasoningSpan& span) {
  std::size_t at = 0;
  if (!span.opened) {
    at = std::min(stream.find_first_not_of(" \t\r\n"), stream.size());
    if (at > ReasoningReader::kMaxBlanks || stream.compare(at, span.open.size(), span.open) != 0)
      return {"", stream, false};
    at += span.open.size();
  }
  at = stream.find(span.close, at);
  if (at == std::string::npos) return {stream, "", true};
  at = std::min(stream.find_first_not_of("\r\n", at + span.close.size()), stream.size());
  return {stream.substr(0, at), stream.substr(at), false};
}

// Cuts the stream where the bits of `cuts` are set; checks that only what may begin the opening marker is held back, and
// that a piece is called reasoning exactly where bytes of it are.
Split by_pieces(const std::string& stream, const ReasoningSpan& span, unsigned cuts) {
  ReasoningReader reader(span);
  Split split{};
  std::size_t begin = 0;
  for (std::size_t end = 1; end <= stream.size(); ++end) {
    if (end < stream.size() && (cuts >> ((end - 1) % 32) & 1) == 0) continue;
    const bool was_inside = reader.inside();
    const std::size_t n_before = split.reasoning.size();
    split.answer += reader.read(std::string_view(stream).substr(begin, end - begin), split.reasoning);
    begin = end;
    const std::size_t n_held = stream.substr(0, end).size() - split.reasoning.size() - split.answer.size();
    CHECK(n_held == 0 || by_definition(stream.substr(0, end) + "x", span).reasoning.empty());
    CHECK(!was_inside || reader.was_inside());
    CHECK(!reader.inside() || reader.was_inside());
    CHECK(!reader.was_inside() || split.reasoning.size() > n_before);
  }
  split.inside = reader.inside();
  split.answer += reader.finish();
  return split;
}

void test_all_words() {
  const std::vector<std::string> pieces = {"<", "r>", "/r>", "\n", " ", "a"};
  for (const bool opened : {false, true}) {
    const ReasoningSpan span{.open = "<r>", .close = "</r>", .opened = opened};
    for (unsigned n = 0; n <= 6; ++n) {
      unsigned n_words = 1;
      for (unsigned i = 0; i < n; ++i) n_words *= 6;
      for (unsigned word = 0; word < n_words; ++word) {
        std::string stream;
        for (unsigned i = 0, rest = word; i < n; ++i, rest /= 6) stream += pieces[rest % 6];
        const Split wanted = by_definition(stream, span);
        for (const unsigned cuts : {0u, ~0u, 0x5555u, 0x9249u, 0x2222u, 0x0208u, word}) {
          if (!(by_pieces(stream, span, cuts) == wanted)) CHECK(false, "'%s' cut by %x", stream.c_str(), cuts);
        }
      }
    }
  }
}

void test_every_cut_of_one_reply() {
  const ReasoningSpan span{.open = "<r>", .close = "</r>"};
  const std::string stream = " <r>a</r</r>\n\nb</r>";
  for (unsigned cuts = 0; cuts < 1u << (stream.size() - 1); cuts += 3) {
    if (!(by_pieces(stream, span, cuts) == Split{" <r>a</r</r>\n\n", "b</r>", false})) CHECK(false, "cut by %x", cuts);
  }
}

void test_markers_that_overlap_themselves() {
  const ReasoningSpan span{.open = "aab", .close = "aba"};
  for (const char* stream : {"aabaaba-", "aababa-", "aabaaabab-", "aaab", "ab"}) {
    const Split wanted = by_definition(stream, span);
    for (unsigned cuts = 0; cuts < 512; ++cuts) CHECK(by_pieces(stream, span, cuts) == wanted);
  }
}

void test_too_many_blanks() {
  for (const std::size_t n : {ReasoningReader::kMaxBlanks, ReasoningReader::kMaxBlanks + 1}) {
    const ReasoningSpan span{.open = "<r>", .close = "</r>"};
    const std::string stream = std::string(n, '\n') + "<r>a";
    CHECK(by_pieces(stream, span, ~0u) == by_definition(stream, span));
    CHECK(by_definition(stream, span).inside == (n == ReasoningReader::kMaxBlanks));
    ReasoningReader reader(span);
    std::string reasoning;
    const bool decided = !reader.read(std::string(n, ' '), reasoning).empty();
    CHECK(decided == (n > ReasoningReader::kMaxBlanks));
  }
}

void test_empty_markers_are_refused() {
  for (const auto& [open, close] : {std::pair("", "x"), std::pair("x", "")}) {
    bool refused = false;
    try {
      ReasoningReader reader({.open = open, .close = close});
    } catch (const kvtape::base::Error& error) {
      refused = error.code() == kvtape::base::ErrorCode::invalid_argument;
    }
    CHECK(refused);
  }
}

}  // namespace

int main() {
  test_all_words();
  test_every_cut_of_one_reply();
  test_markers_that_overlap_themselves();
  test_too_many_blanks();
  test_empty_markers_are_refused();
  return kvtape::test::failures();
}
