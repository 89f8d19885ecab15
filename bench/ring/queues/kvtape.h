#pragma once
// Contender: SpscRing.

#include <span>

#include "queues/row.h"
#include "ring/spsc_ring.h"

class Kvtape {
 public:
  static constexpr const char* kName = "kvtape";
  std::size_t push(std::span<const Row> rows) { return ring_.try_push(std::as_bytes(rows)); }
  std::size_t pop(std::span<Row> rows) { return ring_.try_pop(std::as_writable_bytes(rows)); }

 private:
  kvtape::ring::SpscRing ring_{kCapacity, sizeof(Row)};
};
