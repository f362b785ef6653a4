// Whether the precision of a run is healthy, from its records alone.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "worker/amp/iteration_record.h"
#include "worker/amp/precision_statistics.h"

namespace mantissa::trainer {

// Counts of iterations.
struct MonitorSettings {
  // CALIBRATING ends after this many applied in a row, or after a whole window at the latest.
  std::int32_t calibrated_after = 20;
  // STEADY: at least this many of the window applied, and less than this share of it skipped.
  std::int32_t steady_after = 50;
  double steady_below = 0.01;
  // UNSTABLE: more than this share of a full window skipped, or this many backoffs in it.
  double unstable_above = 0.05;
  std::int32_t unstable_backoffs = 4;
  // The newest iterations, none of them from calibration but its last, good ones.
  std::int32_t window = 200;
  // The same of the statistics, which decide nothing.
  std::int32_t statistics_window = 1000;
};

// Why the run must end. Whether the job goes on otherwise is asked of its spec (proto/spec/lineage.h).
struct Intervention {
  Halt reason = Halt::kNone;
  std::string message;  // one line for people, with the remedy
};

// Pure: no clock, no torch. Between what makes a run STEADY and what makes it UNSTABLE the phase stays what it was, so
// that it does not flicker. Skips while calibrating are how a scale is found and never count against a run. Not
// thread-safe.
class PrecisionMonitor {
 public:
  explicit PrecisionMonitor(const MonitorSettings& settings = MonitorSettings());

  // Records in order; returns the phase after this one.
  Phase Observe(const IterationRecord& record);

  Phase phase() const { return phase_; }
  // Skips while calibrating are in its totals alone.
  PrecisionStats stats() const { return statistics_.stats(); }
  // From the first record that halted the run on.
  const std::optional<mantissa::trainer::Intervention>& Intervention() const { return intervention_; }

 private:
  struct Outcome {
    bool skipped = false;
    bool backed_off = false;
  };

  void Remember(const Outcome& outcome);
  void Decide();

  const MonitorSettings settings_;
  std::deque<Outcome> window_;
  std::int32_t skipped_in_window_ = 0;
  std::int32_t backoffs_in_window_ = 0;
  PrecisionStatistics statistics_;
  std::int64_t iterations_ = 0;
  std::int64_t applied_in_row_ = 0;
  std::int64_t skipped_in_row_ = 0;
  bool calibrated_ = false;
  Phase phase_ = Phase::kCalibrating;
  std::optional<mantissa::trainer::Intervention> intervention_;
};

}  // namespace mantissa::trainer
