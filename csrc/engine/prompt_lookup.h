#pragma once
// Drafts from the text itself: where the newest tokens stood before, what came next may come next again. Copies of a
// prompt, quoted code, tables and tool calls are full of it.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace kvtape::engine {

inline constexpr std::int32_t kMaxDraft = 16;  // tokens

// Hash chains over the 3-grams of a growing list of tokens, as LZ77 coders keep them: 8 to 12 bytes a token, O(1) a token
// amortised, O(1) a search.
class PromptLookup {
 public:
  struct Match {
    std::int32_t position;  // of the token behind the earlier occurrence
    std::int32_t length;    // tokens before it that equal the newest, at least kMinMatch, counted up to kMaxMatch
  };
  static constexpr std::int32_t kMinMatch = 3, kMaxMatch = 32, kMaxCandidates = 16;

  // The longest match among the newest kMaxCandidates occurrences, the newest of equal ones; length 0: none.
  //   tokens: those of the call before, and more
  [[nodiscard]] Match find(std::span<const std::int32_t> tokens);

 private:
  [[nodiscard]] std::size_t bucket(std::span<const std::int32_t> tokens, std::int32_t position) const noexcept;
  void insert(std::span<const std::int32_t> tokens, std::int32_t position) noexcept;
  void take_in(std::span<const std::int32_t> tokens);

  std::vector<std::int32_t> newest_;  // [n_buckets]: last position behind a 3-gram of the bucket; 0: none
  std::vector<std::int32_t> before_;  // [tokens taken in]: the position before it in the same bucket
  std::int32_t shift_ = 0;            // of a 32-bit hash, which leaves a bucket
};

// The drafts of one generation, and how good they have been.
class Drafter {
 public:
  // At most n tokens that may follow; valid until the next call.
  [[nodiscard]] std::span<const std::int32_t> draft(std::span<const std::int32_t> tokens, std::int32_t n);

  // Chance that a drafted token is right where all before it are.
  [[nodiscard]] float chance() const noexcept { return chance_; }

  // Of the last draft the first n_used tokens were tried, and of these the first n_right were drawn.
  void learn(std::size_t n_right, std::size_t n_used) noexcept;

 private:
  static constexpr float kUnknown = 0.65f;

  PromptLookup lookup_;
  std::array<std::int32_t, kMaxDraft> draft_{};
  float chance_ = kUnknown;
};

}  // namespace kvtape::engine
