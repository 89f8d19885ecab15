#include "engine/step_cost.h"

#include <algorithm>

namespace kvtape::engine {
namespace {

constexpr double kKept = 0.98;      // of what was learnt, each step: about the last 50 count
constexpr double kSlowest = 3;      // times the mean: what took longer was the machine's doing
constexpr double kPrior = 0.25;     // of a step of one token, where nothing is known
constexpr double kPriorWeight = 4;  // as much as a few steps with a draft
constexpr double kLeast = 0.02;     // no token is free

}  // namespace

// Welford's update, with weights that fade.
void StepCost::observe(std::int32_t n_tokens, double seconds) noexcept {
  const auto n = static_cast<double>(n_tokens);
  if (weight_ > 0) seconds = std::min(seconds, kSlowest * seconds_ * std::max(1.0, n / n_));
  weight_ = kKept * weight_ + 1;
  const double n_off = n - n_, seconds_off = seconds - seconds_;
  n_ += n_off / weight_;
  seconds_ += seconds_off / weight_;
  variance_ = kKept * variance_ + n_off * (n - n_);
  covariance_ = kKept * covariance_ + n_off * (seconds - seconds_);
}

double StepCost::share(std::int32_t n_tokens) const noexcept {
  if (weight_ == 0) return kPrior / (1 + kPrior * (n_tokens - 1));
  const double prior = kPrior * seconds_ / (1 + kPrior * (n_ - 1));
  const double slope = (covariance_ + kPriorWeight * prior) / (variance_ + kPriorWeight);
  const double one = seconds_ - slope * (n_ - 1);  // of a step of one token
  if (slope <= kLeast * one) return kLeast / (1 + kLeast * (n_tokens - 1));
  if (slope >= one) return 1.0 / n_tokens;
  return slope / (one + slope * (n_tokens - 1));
}

}  // namespace kvtape::engine
