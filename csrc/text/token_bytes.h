#pragma once
// Id to bytes: what a token adds to the text. Tokens that show nothing (control tokens) have no bytes.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtape::text {

class TokenBytes {
 public:
  explicit TokenBytes(std::span<const std::string_view> pieces);  // pieces[id]; copied

  [[nodiscard]] std::size_t size() const noexcept { return starts_.size() - 1; }
  [[nodiscard]] std::string_view bytes(std::int32_t id) const;  // throws invalid_argument for an id outside the table

 private:
  std::string joined_;
  std::vector<std::size_t> starts_;  // [size + 1]
};

}  // namespace kvtape::text
