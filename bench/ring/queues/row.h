#pragma once
// What goes through the queues.

#include <array>
#include <cstdint>

using Row = std::array<std::int64_t, 8>;
constexpr std::size_t kCapacity = 4096;
