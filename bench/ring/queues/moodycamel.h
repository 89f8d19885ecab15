#pragma once
// Contender: moodycamel::ReaderWriterQueue; it has no batches, and is bounded by try_enqueue.

#include <readerwriterqueue/readerwriterqueue.h>

#include <span>

#include "queues/row.h"

class Moodycamel {
 public:
  static constexpr const char* kName = "moodycamel";
  std::size_t push(std::span<const Row> rows) {
    std::size_t n = 0;
    while (n < rows.size() && queue_.try_enqueue(rows[n])) ++n;
    return n;
  }
  std::size_t pop(std::span<Row> rows) {
    std::size_t n = 0;
    while (n < rows.size() && queue_.try_dequeue(rows[n])) ++n;
    return n;
  }

 private:
  moodycamel::ReaderWriterQueue<Row> queue_{kCapacity};
};
