#pragma once
// Contender: a bounded queue under a mutex.

#include <algorithm>
#include <mutex>
#include <span>
#include <vector>

#include "queues/row.h"

class Mutex {
 public:
  static constexpr const char* kName = "mutex";
  std::size_t push(std::span<const Row> rows) {
    const std::lock_guard lock(mutex_);
    const std::size_t n = std::min(rows.size(), kCapacity - (tail_ - head_));
    for (std::size_t i = 0; i < n; ++i) slots_[tail_++ % kCapacity] = rows[i];
    return n;
  }
  std::size_t pop(std::span<Row> rows) {
    const std::lock_guard lock(mutex_);
    const std::size_t n = std::min(rows.size(), tail_ - head_);
    for (std::size_t i = 0; i < n; ++i) rows[i] = slots_[head_++ % kCapacity];
    return n;
  }

 private:
  std::mutex mutex_;
  std::size_t head_ = 0, tail_ = 0;
  std::vector<Row> slots_{kCapacity};
};
