// One iteration as telemetry and the precision monitor see it.
#pragma once

#include <cstdint>
#include <optional>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {

enum class Phase : std::int32_t { kCalibrating = 1, kSteady = 2, kUnstable = 3 };  // the numbers of v1::Phase

struct IterationRecord {
  std::int64_t iteration = 0;  // from 1
  std::int64_t step = 0;       // after it
  std::int32_t lineage = 0;
  std::int64_t time_unix_nanos = 0;
  double loss = 0;
  double loss_scale = 1;       // it ran with
  double next_loss_scale = 1;  // after its update
  bool applied = true;
  SkipCause cause = SkipCause::kNone;
  std::optional<double> grad_norm;  // absent on a skipped iteration
  double learning_rate = 0;
  double seconds = 0;
  double samples_per_second = 0;
  Phase phase = Phase::kCalibrating;  // after it: what PrecisionMonitor::Observe returned
  std::int32_t growth_tracker = 0;
  std::int32_t hysteresis_tracker = 0;
  Halt halt = Halt::kNone;
  std::int64_t memory_bytes = 0;
  std::int64_t peak_memory_bytes = 0;
};

// What the state says after update_scale; the rest is the caller's to fill in.
IterationRecord RecordFrom(const StepState& state);

}  // namespace mantissa::trainer
