// Matches against a plain search, growing in steps of any size; what drafts are made of; how fast they fall out of favour.

#include "engine/prompt_lookup.h"

#include <algorithm>
#include <random>

#include "check.h"

namespace {

using namespace kvtape;
using engine::Drafter;
using engine::PromptLookup;
using Tokens = std::vector<std::int32_t>;

// The longest match of those that are looked at, the newest of equal ones.
PromptLookup::Match plain_search(const Tokens& tokens) {
  const auto end = static_cast<std::int32_t>(tokens.size());
  PromptLookup::Match best{0, 0};
  std::int32_t n_left = PromptLookup::kMaxCandidates;
  for (std::int32_t position = end - 1; position > 0 && n_left > 0; --position) {
    std::int32_t n = 0;
    while (n < std::min(position, PromptLookup::kMaxMatch) &&
           tokens[static_cast<std::size_t>(position - 1 - n)] == tokens[static_cast<std::size_t>(end - 1 - n)]) {
      ++n;
    }
    n_left -= n >= PromptLookup::kMinMatch;
    if (n >= PromptLookup::kMinMatch && n > best.length) best = {position, n};
  }
  return best;
}

// Random text of few or many kinds of tokens, with passages copied from before.
void test_finds_what_a_plain_search_finds() {
  std::mt19937_64 random(3);
  for (const std::int32_t n_kinds : {60, 1000, 30000}) {
    int n_found = 0;
    for (int round = 0; round < 30; ++round) {
      PromptLookup lookup;
      Tokens tokens;
      while (tokens.size() < 600) {
        const std::size_t n_most = random() % 4 == 0 ? 70 : 2, n_more = 1 + random() % n_most;
        const bool copy = tokens.size() > 8 && random() % 2 == 0;
        const std::size_t from = copy ? random() % tokens.size() : 0;
        for (std::size_t i = 0; i < n_more; ++i) {
          const auto fresh = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(n_kinds));
          tokens.push_back(copy ? tokens[from + i] : fresh);
        }
        const auto found = lookup.find(tokens), wanted = plain_search(tokens);
        CHECK(found.position == wanted.position && found.length == wanted.length, "%d of %d, wanted %d of %d",
              found.position, found.length, wanted.position, wanted.length);
        n_found += found.length > 0;
      }
    }
    CHECK(n_found > 150, "%d", n_found);
  }
}

// Where one 3-gram is everywhere, only its newest occurrences are looked at; what is found is true all the same.
void test_many_occurrences_cost_no_more() {
  std::mt19937_64 random(5);
  PromptLookup lookup;
  Tokens tokens;
  for (int i = 0; i < 3000; ++i) {
    tokens.push_back(static_cast<std::int32_t>(random() % 2));
    const auto [position, length] = lookup.find(tokens);
    const auto end = static_cast<std::int32_t>(tokens.size());
    if (length == 0) continue;
    CHECK(position < end && length >= PromptLookup::kMinMatch && length <= position);
    CHECK(std::equal(tokens.begin() + position - length, tokens.begin() + position, tokens.end() - length));
  }
}

void test_a_draft_is_what_came_next() {
  Drafter drafter;
  const auto is = [&](const Tokens& tokens, std::int32_t n, const Tokens& wanted) {
    return std::ranges::equal(drafter.draft(tokens, n), wanted);
  };
  CHECK(is({}, 4, {}) && is({1, 2, 3}, 4, {}) && is({1, 2, 3, 4, 5}, 4, {}));
  drafter = {};
  CHECK(is({1, 2, 3, 4, 5, 6, 1, 2, 3}, 3, {4, 5, 6}));
  CHECK(is({1, 2, 3, 4, 5, 6, 1, 2, 3}, 0, {}));
  drafter = {};
  CHECK(is({9, 1, 2, 3, 4, 7, 1, 2, 3, 5, 9, 1, 2, 3}, 2, {4, 7}));  // the longer match, not the newer
  drafter = {};
  CHECK(is({7, 7, 7, 7}, 5, {7, 7, 7, 7, 7}));  // over its own end
  drafter = {};
  CHECK(is({1, 2, 3, 1, 2, 3}, 5, {1, 2, 3, 1, 2}));
  CHECK(drafter.draft(Tokens(40, 5), 100).size() == engine::kMaxDraft);
}

void test_chances_follow_what_became_of_drafts() {
  Drafter drafter;
  Tokens run(20, 7);
  (void)drafter.draft(run, 8);
  const float before = drafter.chance();
  for (int i = 0; i < 4; ++i) drafter.learn(8, 8);
  CHECK(drafter.chance() > 0.95f);
  drafter.learn(0, 1);
  drafter.learn(0, 1);
  drafter.learn(0, 1);
  CHECK(drafter.chance() < before);
  for (int i = 0; i < 10; ++i) drafter.learn(0, 3);  // of three, one was tried
  CHECK(drafter.chance() < 0.05f);
  for (int i = 0; i < 1000; ++i) (void)drafter.draft(run, 8);  // forgotten when it was not tried for long
  CHECK(drafter.chance() > 0.4f);
}

}  // namespace

int main() {
  test_finds_what_a_plain_search_finds();
  test_many_occurrences_cost_no_more();
  test_a_draft_is_what_came_next();
  test_chances_follow_what_became_of_drafts();
  return test::failures();
}
