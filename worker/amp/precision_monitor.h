// Whether the precision of a run is healthy, from its records alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/training.pb.h"
#include "worker/amp/iteration_record.h"

namespace mantissa::trainer {

struct MonitorSettings {
  std::int32_t calibrating_until_applied = 20;  // in a row
  std::int32_t steady_after_applied = 50;       // the newest this many iterations, with less than steady_skip_ratio
  double steady_skip_ratio = 0.01;
  std::int32_t window = 200;
  double unstable_skip_ratio = 0.05;
  std::int32_t unstable_backoffs = 4;
  v1::PrecisionSpec::OnFailure on_failure = v1::PrecisionSpec::FAIL;
};

// What must happen to the run. FAIL and CLAMP end it; ROLLBACK and FALLBACK will be other kinds.
struct Intervention {
  enum class Kind { kFail };
  Kind kind = Kind::kFail;
  Halt reason = Halt::kNone;
  std::string message;  // one line for people, with the remedy
};

struct PrecisionStats {
  std::int64_t iterations = 0;
  std::int64_t applied = 0;
  std::int64_t skipped = 0;
  double skipped_ratio = 0;               // of the window
  std::optional<double> stability_score;  // 1 - backoffs/window; absent before a full window
  double min_loss_scale = 0;
  double max_loss_scale = 0;
};

// Pure: no clock, no torch. Not thread-safe.
class PrecisionMonitor {
 public:
  explicit PrecisionMonitor(const MonitorSettings& settings);

  // Records in order; returns the phase after this one.
  Phase Observe(const IterationRecord& record);

  Phase phase() const { return phase_; }
  PrecisionStats stats() const;
  const std::optional<mantissa::trainer::Intervention>& Intervention() const { return intervention_; }

 private:
  struct Outcome {
    bool skipped = false;
    bool backed_off = false;
  };

  Phase Decide() const;

  const MonitorSettings settings_;
  std::vector<Outcome> window_;  // a ring of settings_.window outcomes
  std::size_t at_ = 0;
  std::int32_t skipped_in_window_ = 0;
  std::int32_t backoffs_in_window_ = 0;
  std::int64_t iterations_ = 0;
  std::int64_t applied_ = 0;
  std::int64_t applied_in_row_ = 0;
  double min_loss_scale_ = 0;
  double max_loss_scale_ = 0;
  Phase phase_ = Phase::kCalibrating;
  std::optional<mantissa::trainer::Intervention> intervention_;
};

}  // namespace mantissa::trainer
