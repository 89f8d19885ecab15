#pragma once
// Contender: boost::lockfree::spsc_queue, capacity at compile time, with its own batches.

#include <boost/lockfree/spsc_queue.hpp>
#include <memory>
#include <span>

#include "queues/row.h"

class Boost {
 public:
  static constexpr const char* kName = "boost";
  std::size_t push(std::span<const Row> rows) {
    return rows.size() == 1 ? queue_->push(rows[0]) : queue_->push(rows.data(), rows.size());
  }
  std::size_t pop(std::span<Row> rows) {
    return rows.size() == 1 ? queue_->pop(rows[0]) : queue_->pop(rows.data(), rows.size());
  }

 private:
  using Queue = boost::lockfree::spsc_queue<Row, boost::lockfree::capacity<kCapacity>>;
  std::unique_ptr<Queue> queue_ = std::make_unique<Queue>();
};
