#pragma once
// Memory for many things that live as long as each other: pieces side by side in large maps, so that what is too small for
// huge pages of its own gets them all the same (AlignedBuffer). A chunk is freed with the last of its pieces.

#include <algorithm>
#include <cstddef>
#include <memory>

#include "base/aligned_buffer.h"

namespace kvtape::base {

class Arena {
 public:
  // Of address space: memory is taken where it is touched.
  static constexpr std::size_t kChunkBytes = std::size_t{64} << 20;

  // n_bytes of zeros, 64-byte aligned.
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t n_bytes) {
    if (chunk_ == nullptr || n_bytes > chunk_->size() - used_) {
      chunk_ = std::make_shared<AlignedBuffer<std::byte>>(std::max(n_bytes, kChunkBytes));
      used_ = 0;
    }
    std::byte* const piece = chunk_->data() + used_;
    used_ = std::min(chunk_->size(), used_ + (n_bytes + 63) / 64 * 64);
    return {chunk_, piece};
  }

 private:
  std::shared_ptr<AlignedBuffer<std::byte>> chunk_;
  std::size_t used_ = 0;
};

}  // namespace kvtape::base
