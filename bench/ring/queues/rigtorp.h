#pragma once
// Contender: rigtorp::SPSCQueue; it has no batches, so a batch is pushed row by row.

#include <rigtorp/SPSCQueue.h>

#include <span>

#include "queues/row.h"

class Rigtorp {
 public:
  static constexpr const char* kName = "rigtorp";
  std::size_t push(std::span<const Row> rows) {
    std::size_t n = 0;
    while (n < rows.size() && queue_.try_push(rows[n])) ++n;
    return n;
  }
  std::size_t pop(std::span<Row> rows) {
    std::size_t n = 0;
    for (; n < rows.size(); ++n) {
      const Row* row = queue_.front();
      if (row == nullptr) break;
      rows[n] = *row;
      queue_.pop();
    }
    return n;
  }

 private:
  rigtorp::SPSCQueue<Row> queue_{kCapacity};
};
