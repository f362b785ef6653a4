// Which engine an attempt runs on, and what there is to say of it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "mantissa/v1/telemetry.pb.h"
#include "mantissa/v1/training.pb.h"
#include "process/clock.h"
#include "worker/trainer/device_api.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

struct ChosenEngine {
  std::unique_ptr<Engine> engine;
  bool recorded = false;
  std::optional<v1::JobEvent> notice;  // STEP_GRAPH, or STEP_EAGER where a device that can record does not
};

// What `mode` asks for: iterations are recorded where it is AUTO or GRAPH and `recorder` is not null. AUTO goes on
// without where they cannot be. Of GRAPH that is FAILED_PRECONDITION with its reason (attempt_checks.h), the field and
// the remedy. All references outlive the engine.
absl::StatusOr<ChosenEngine> ChooseEngine(v1::ExecutionSpec::Mode mode, RunState& state, StepProgram& program,
                                          const MantissaRecorder* recorder, const process::Clock& clock);

}  // namespace mantissa::trainer
