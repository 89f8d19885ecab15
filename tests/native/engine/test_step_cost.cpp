// The line through measured steps: exact times give their slope, noise and lone outliers do not carry it away.

#include "engine/step_cost.h"

#include <cmath>
#include <random>

#include "check.h"

namespace {

using kvtape::engine::StepCost;

bool near(double found, double wanted, double tolerance) { return std::abs(found - wanted) <= tolerance * wanted; }

double line(double base, double slope, std::int32_t n) { return base + slope * n; }

void test_learns_base_and_slope() {
  for (const double slope : {0.02, 0.1, 0.3, 1.0, 4.0}) {
    StepCost cost;
    for (int i = 0; i < 400; ++i) cost.observe(1 + i % 7, 1e-3 * line(1.0, slope, 1 + i % 7));
    for (const std::int32_t n : {1, 2, 5, 17, 40}) {
      CHECK(near(cost.share(n), slope / line(1.0, slope, n), 0.2), "%g for %d", cost.share(n), n);
    }
  }
}

void test_a_share_is_always_one() {
  std::mt19937_64 random(1);
  StepCost cost;
  for (int i = 0; i < 2000; ++i) {
    for (const std::int32_t n : {1, 2, 16, 256}) CHECK(cost.share(n) > 0 && cost.share(n) <= 1.0 / n);
    cost.observe(1 + static_cast<std::int32_t>(random() % 17), static_cast<double>(random() % 1000) * 1e-5);
  }
}

void test_stalls_are_cut() {
  StepCost cost;
  for (int i = 0; i < 200; ++i) cost.observe(1 + i % 5, 1e-3 * line(1.0, 0.25, 1 + i % 5));
  const double before = cost.share(1);
  cost.observe(1, 1.0);  // a thousand steps long
  for (int i = 0; i < 20; ++i) cost.observe(1 + i % 5, 1e-3 * line(1.0, 0.25, 1 + i % 5));
  CHECK(near(cost.share(1), before, 0.5), "%g, before %g", cost.share(1), before);
}

void test_what_was_learnt_fades_to_the_prior_where_there_are_no_drafts() {
  StepCost cost, fresh;
  for (int i = 0; i < 200; ++i) cost.observe(1 + i % 5, 1e-3 * line(0.0, 1.0, 1 + i % 5));
  CHECK(cost.share(1) > 0.8);
  for (int i = 0; i < 1000; ++i) cost.observe(1, 1e-3);
  CHECK(near(cost.share(1), fresh.share(1), 0.05), "%g", cost.share(1));
}

}  // namespace

int main() {
  test_learns_base_and_slope();
  test_a_share_is_always_one();
  test_stalls_are_cut();
  test_what_was_learnt_fades_to_the_prior_where_there_are_no_drafts();
  return kvtape::test::failures();
}
