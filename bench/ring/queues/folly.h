#pragma once
// Contender: folly::ProducerConsumerQueue; it has no batches.

#define FOLLY_NO_CONFIG
#include <folly/ProducerConsumerQueue.h>

#include <span>

#include "queues/row.h"

class Folly {
 public:
  static constexpr const char* kName = "folly";
  std::size_t push(std::span<const Row> rows) {
    std::size_t n = 0;
    while (n < rows.size() && queue_.write(rows[n])) ++n;
    return n;
  }
  std::size_t pop(std::span<Row> rows) {
    std::size_t n = 0;
    while (n < rows.size() && queue_.read(rows[n])) ++n;
    return n;
  }

 private:
  folly::ProducerConsumerQueue<Row> queue_{kCapacity};
};
