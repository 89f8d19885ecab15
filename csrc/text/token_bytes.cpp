#include "text/token_bytes.h"

#include "base/error.h"

namespace kvtape::text {

TokenBytes::TokenBytes(std::span<const std::string_view> pieces) {
  std::size_t n_bytes = 0;
  for (const auto piece : pieces) n_bytes += piece.size();
  joined_.reserve(n_bytes);
  starts_.reserve(pieces.size() + 1);
  for (const auto piece : pieces) {
    starts_.push_back(joined_.size());
    joined_ += piece;
  }
  starts_.push_back(joined_.size());
}

std::string_view TokenBytes::bytes(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(size()));
  }
  const auto i = static_cast<std::size_t>(id);
  return std::string_view(joined_).substr(starts_[i], starts_[i + 1] - starts_[i]);
}

}  // namespace kvtape::text
