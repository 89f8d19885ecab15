#pragma once
// What a token costs in a step, measured: seconds(n tokens) = base + n * slope, a line through the steps of late. A step of
// one sequence reads all weights once, and a second token in it reads nothing new: it costs arithmetic alone.

#include <cstdint>

namespace kvtape::engine {

class StepCost {
 public:
  void observe(std::int32_t n_tokens, double seconds) noexcept;

  // The share that one token more adds to a step of n tokens.
  [[nodiscard]] double share(std::int32_t n_tokens) const noexcept;

 private:
  double weight_ = 0, n_ = 0, seconds_ = 0;  // of the steps; their mean number of tokens, and mean time
  double variance_ = 0, covariance_ = 0;     // sums over the steps, of n and of n with the time
};

}  // namespace kvtape::engine
