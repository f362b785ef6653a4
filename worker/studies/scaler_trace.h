// What a loss scale did in one run, from the run's records. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "worker/amp/iteration_record.h"

namespace mantissa::trainer {

// Not thread-safe.
class ScalerTrace {
 public:
  static constexpr std::size_t kMostChanges = 500;

  // Records of the run, in order.
  void Observe(const IterationRecord& record);

  struct Change {
    std::int64_t iteration = 0;  // the first with this scale
    double loss_scale = 0;
  };
  // The first scale, and every one after a change; of too many, every second, every fourth, ...
  const std::vector<Change>& changes() const { return changes_; }
  bool thinned() const { return stride_ > 1; }

  // The last skip before the scale had settled, that is before as many were applied in a row as end the monitor's phase
  // CALIBRATING; 0 where there was none, nothing where it has not settled.
  std::optional<std::int64_t> calibration() const;

  // Iterations, skips, calibration and scales.
  void Describe(v1::ScalerRow& row) const;

 private:
  void Remember(std::int64_t iteration, double loss_scale);

  std::vector<Change> changes_;
  std::int64_t seen_changes_ = 0;
  std::int64_t stride_ = 1;
  std::int64_t iterations_ = 0;
  std::int64_t skipped_ = 0;
  std::int64_t applied_in_row_ = 0;
  std::int64_t last_skip_ = 0;  // before it settled
  bool settled_ = false;
  double first_ = 0;
  double min_ = 0;
  double max_ = 0;
  double last_ = 0;
};

}  // namespace mantissa::trainer
