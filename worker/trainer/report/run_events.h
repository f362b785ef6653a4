// The events of a run, each with the line that people read. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/telemetry.pb.h"
#include "worker/amp/advice/advice.h"
#include "worker/amp/value_range.h"
#include "worker/checkpoint/checkpoint_store.h"
#include "worker/models/parameter_buffer.h"
#include "worker/trainer/engine.h"

namespace mantissa::trainer {

// An event without detail. `time_unix_nanos` is its time, `reason` UPPER_SNAKE.
v1::JobEvent MakeEvent(std::int64_t time_unix_nanos, v1::JobEvent::Severity severity, const std::string& reason,
                       const std::string& message);

// Of a skipped iteration: cause, scale, and the parameters to blame in backward order.
v1::JobEvent SkippedEvent(const IterationReport& report, const std::vector<Parameter>& parameters, bool scaled);

// What a replay of the iteration that `told` is of says: cause and location, at the same loss scale.
v1::OverflowEvent OverflowAt(const FaultLocation& location, const v1::OverflowEvent& told);

v1::JobEvent ScaleGrownEvent(const IterationRecord& record);

v1::JobEvent PhaseEvent(const IterationRecord& record, Phase from);

// `mode`: of the run; `scaled`: it has a loss scale.
v1::JobEvent RangesEvent(const IterationRecord& record, const ModuleRanges& ranges, v1::PrecisionSpec::Mode mode,
                         bool scaled);

v1::JobEvent AdviceEvent(const IterationRecord& record, const Advice& advice);

v1::JobEvent EvaluationEvent(std::int64_t time_unix_nanos, std::int64_t iteration, const v1::EvaluationResult& result);

// A skipped iteration is kept whole, or could not be.
v1::JobEvent BundleEvent(std::int64_t time_unix_nanos, std::int64_t iteration,
                         const absl::StatusOr<SavedCheckpoint>& saved);

// What earlier attempts left was removed, or could not be.
v1::JobEvent ReclaimedEvent(std::int64_t time_unix_nanos, const absl::StatusOr<ReclaimedCheckpoints>& reclaimed);
v1::JobEvent MicroBatchEvent(std::int64_t time_unix_nanos, const v1::MicroBatchChosen& chosen);
v1::JobEvent StartedEvent(std::int64_t time_unix_nanos, const v1::TrainingStarted& started);

v1::JobEvent CheckpointSavedEvent(std::int64_t time_unix_nanos, std::int64_t iteration,
                                  const v1::CheckpointEvent& checkpoint);

}  // namespace mantissa::trainer
