#pragma once
// A runner whose "KV" of a position is a hash of all tokens up to it, and whose logits are a function of that hash. A
// block that is stale, shared wrongly or not copied gives other tokens than the same sequence computed on its own. Behind a
// hole it is a hash of the KV before the hole, of every one behind it, and of the token.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "model/runner.h"
#include "ops/table.h"

namespace kvtape::test {

inline constexpr std::int32_t kVocab = 40, kEos = 0, kBlock = 4;

inline std::uint64_t chain(std::uint64_t before, std::int32_t token) {
  std::uint64_t h = (before ^ (static_cast<std::uint64_t>(token) + 0x9e3779b97f4a7c15u)) * 0xbf58476d1ce4e5b9u;
  return h ^ (h >> 31);
}

inline std::uint64_t chain(std::span<const std::int32_t> tokens) {
  std::uint64_t h = 1;
  for (const auto token : tokens) h = chain(h, token);
  return h;
}

// What enters the KV of a position besides its token: kv_of(p) is that of position p.
template <class KvOf>
std::uint64_t chain_before(std::int32_t position, const kernels::Hole& hole, KvOf&& kv_of) {
  if (hole.empty()) return position == 0 ? 1 : kv_of(position - 1);
  std::uint64_t h = hole.begin == 0 ? 1 : kv_of(hole.begin - 1);
  for (std::int32_t p = hole.end; p < position; ++p) h = chain(h, static_cast<std::int32_t>(kv_of(p)));
  return h;
}

// The last token likes to be said again, so that drafts are right more often than not, and wrong often enough.
inline void fill_logits(std::uint64_t h, std::int32_t last, std::span<float> logits) {
  for (std::size_t id = 0; id < logits.size(); ++id) {
    logits[id] = static_cast<float>(chain(h, static_cast<std::int32_t>(id)) >> 52) / 512.0f;  // 0 to 8
  }
  logits[static_cast<std::size_t>(last)] += 6.0f;
  logits[kEos] -= 4.0f;  // rare, but it comes
}

// What is left of a row of logits where only those of some ids are wanted.
inline std::span<const float> compact(std::span<float> logits, std::span<const std::int32_t> ids) {
  if (ids.empty()) return logits;
  for (std::size_t i = 0; i < ids.size(); ++i) logits[i] = logits[static_cast<std::size_t>(ids[i])];
  return logits.first(ids.size());
}

class ChainRunner final : public model::Runner {
 public:
  ChainRunner(std::int32_t n_blocks, std::int32_t n_ctx)
      : n_blocks_(n_blocks), n_ctx_(n_ctx), slots_(static_cast<std::size_t>(n_blocks * kBlock)) {}

  std::span<const std::span<const float>> forward(const model::Batch& batch) override {
    if (while_it_runs) while_it_runs();
    logits_.resize(batch.wants.size() * kVocab);
    wanted_.clear();
    for (const auto& row : batch.rows) {
      for (std::int32_t i = 0; i < row.n_tokens; ++i) {
        const std::int32_t position = row.position + i;
        const std::uint64_t before = chain_before(position, row.hole, [&](auto p) { return slot(row, p); });
        const std::int32_t token = batch.tokens[static_cast<std::size_t>(row.first + i)];
        slot(row, position) = chain(before, token);
        const std::size_t want = wanted_.size();
        if (want < batch.wants.size() && batch.wants[want].token == row.first + i) {
          const auto logits = std::span(logits_).subspan(want * kVocab, kVocab);
          fill_logits(slot(row, position), token, logits);
          wanted_.push_back(compact(logits, batch.wants[want].ids));
        }
      }
    }
    for (const auto& row : batch.rows) check_group(row, batch.rows[static_cast<std::size_t>(row.group)]);
    return wanted_;
  }

  void copy_blocks(std::span<const model::BlockPair> pairs) override {
    for (const auto [from, to] : pairs) {
      for (std::int32_t i = 0; i < kBlock; ++i) {
        slots_[static_cast<std::size_t>(to * kBlock + i)] = slots_[static_cast<std::size_t>(from * kBlock + i)];
      }
    }
  }

  [[nodiscard]] std::int32_t vocab_size() const noexcept override { return kVocab; }
  [[nodiscard]] std::int32_t block_size() const noexcept override { return kBlock; }
  [[nodiscard]] std::int32_t n_blocks() const noexcept override { return n_blocks_; }
  [[nodiscard]] std::int32_t n_ctx() const noexcept override { return n_ctx_; }

  // Spans of a group had the same blocks in their shared part, all before their own tokens; and nobody saw into a hole.
  bool spans_hold = true;
  std::function<void()> while_it_runs;

 private:
  std::uint64_t& slot(const model::RowSpan& row, std::int32_t position) {
    spans_hold &= row.hole.empty() || position < row.hole.begin || position >= row.hole.end;
    const std::int32_t block = row.blocks[static_cast<std::size_t>(row.hole.n_entries(position / kBlock, kBlock))];
    return slots_[static_cast<std::size_t>(block * kBlock + position % kBlock)];
  }

  void check_group(const model::RowSpan& row, const model::RowSpan& leader) {
    spans_hold &= row.shared_len == leader.shared_len && row.shared_len <= row.position;
    const auto sees_all = [&](const model::RowSpan& span) {
      return span.hole.empty() || span.shared_len <= span.hole.begin;
    };
    spans_hold &= row.hole == leader.hole || (sees_all(row) && sees_all(leader));
    for (std::int32_t i = 0; i < row.hole.n_entries(row.shared_len / kBlock, kBlock); ++i) {
      spans_hold &= row.blocks[static_cast<std::size_t>(i)] == leader.blocks[static_cast<std::size_t>(i)];
    }
  }

  std::int32_t n_blocks_, n_ctx_;
  std::vector<std::uint64_t> slots_;  // [n_blocks, kBlock]
  std::vector<float> logits_;
  std::vector<std::span<const float>> wanted_;
};

inline engine::Vocabulary chain_vocabulary() {
  std::vector<std::string> texts;
  for (int i = 0; i < kVocab; ++i) texts.push_back(i == kEos ? "" : std::string(1, static_cast<char>('0' + i)));
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  return {std::make_shared<text::TokenBytes>(views), {kEos}};
}

}  // namespace kvtape::test
