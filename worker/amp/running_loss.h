// Where the loss of a run is of late: what a jump is measured against.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

namespace mantissa::trainer {

// Of the newest kWindow finite losses. Pure; not thread-safe.
class RunningLoss {
 public:
  static constexpr std::size_t kWindow = 64;

  void Remember(double loss);

  // Nothing before a full window.
  std::optional<double> median() const;
  // Median distance from the median; 0 before a full window.
  double Deviation() const;

 private:
  std::deque<double> losses_;   // in the order they came
  std::vector<double> sorted_;  // the same ones: a record comes far too often to sort them anew
};

// Both: a loss that hardly moves has a tiny deviation, and one that is noisy doubles now and then.
struct SpikeLimits {
  double times_median = 2;
  double deviations = 10;
};

// Finite, and above both. Never where there is no median yet.
bool IsSpike(double loss, const std::optional<double>& median, double deviation, const SpikeLimits& limits);

}  // namespace mantissa::trainer
