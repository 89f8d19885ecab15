// Against the definition, on every word over two letters and every cut: the match that ends first, the longest of those.

#include "text/stop_matcher.h"

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "check.h"

namespace {

using kvtape::text::StopMatcher;

struct Answer {
  std::string text;
  std::optional<std::size_t> matched;
  bool operator==(const Answer&) const = default;
};

Answer by_definition(const std::string& stream, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= stream.size(); ++end) {
    std::optional<std::size_t> longest;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      const std::string& stop = stops[i];
      if (stop.size() > end || stream.compare(end - stop.size(), stop.size(), stop) != 0) continue;
      if (!longest || stop.size() > stops[*longest].size()) longest = i;
    }
    if (longest) return {stream.substr(0, end - stops[*longest].size()), longest};
  }
  return {stream, std::nullopt};
}

// Cuts the stream where the bits of `cuts` are set; checks that nothing was released that a match could still take.
Answer by_pieces(const std::string& stream, const std::vector<std::string>& stops, unsigned cuts) {
  StopMatcher matcher(stops);
  std::string out;
  std::size_t begin = 0;
  for (std::size_t end = 1; end <= stream.size(); ++end) {
    if (end < stream.size() && (cuts >> (end - 1) & 1) == 0) continue;
    matcher.push(std::string_view(stream).substr(begin, end - begin), out);
    begin = end;
  }
  matcher.flush(out);
  return {out, matcher.matched()};
}

void test_all_words() {
  const std::vector<std::vector<std::string>> sets = {{},
                                                      {"a"},
                                                      {"ab"},
                                                      {"aab"},
                                                      {"abab"},
                                                      {"ab", "ba"},
                                                      {"aba", "b"},
                                                      {"bb", "abb"},
                                                      {"aabb", "ab", "bbb"},
                                                      {"abaab", "aabaa"}};
  for (const auto& stops : sets) {
    for (std::size_t n = 0; n <= 8; ++n) {
      for (unsigned word = 0; word < 1u << n; ++word) {
        std::string stream;
        for (std::size_t i = 0; i < n; ++i) stream += (word >> i & 1) != 0 ? 'b' : 'a';
        const Answer wanted = by_definition(stream, stops);
        for (unsigned cuts = 0; cuts < 1u << n; cuts += n > 6 ? 5 : 1) {
          if (!(by_pieces(stream, stops, cuts) == wanted)) CHECK(false, "%s cut by %x", stream.c_str(), cuts);
        }
      }
    }
  }
}

void test_release_and_end() {
  const std::vector<std::string> stops = {"STOP"};
  StopMatcher matcher(stops);
  std::string out;
  CHECK(!matcher.push("go ST", out) && out == "go ");
  CHECK(!matcher.push("AY", out) && out == "go STAY");
  CHECK(!matcher.push("STO", out) && out == "go STAY");
  CHECK(matcher.push("P after", out) && out == "go STAY" && matcher.stopped());
  CHECK(matcher.push("more", out) && out == "go STAY");
  matcher.flush(out);
  CHECK(out == "go STAY");
  const std::vector<std::string> empty = {"x", ""};
  bool refused = false;
  try {
    StopMatcher bad(empty);
  } catch (const kvtape::base::Error& error) {
    refused = error.code() == kvtape::base::ErrorCode::invalid_argument;
  }
  CHECK(refused);
}

}  // namespace

int main() {
  test_all_words();
  test_release_and_end();
  return kvtape::test::failures();
}
