// Runs a StepProgram operation by operation.
#pragma once

#include <vector>

#include "process/clock.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"
#include "worker/trainer/step_readback.h"

namespace mantissa::trainer {

struct EagerEngineOptions {
  // Iterations that may have been started before the host knows what became of the first of them, 1 to 4. The results
  // are the same to the last bit. With 1 a device is waited for after every iteration.
  int in_flight = 1;
};

// Decides on what it has been told only. Not thread-safe.
class EagerEngine final : public Engine {
 public:
  EagerEngine(RunState& state, StepProgram& program, const process::Clock& clock,
              const EagerEngineOptions& options = {});

  bool RunUntil(const Boundary& boundary, Control& control) override;
  std::vector<IterationReport> Poll() override;
  void Drain() override;
  Progress progress() override;

 private:
  // Starts what may be started; false when a stop request came in between.
  bool Start(const Boundary& boundary, Control& control);
  // Waits for the oldest iteration in flight.
  void Learn();
  void Report(const StepState& step, process::SteadyTime began);
  void Refresh();

  RunState& state_;
  StepProgram& program_;
  const process::Clock& clock_;
  // Wall time of steady time zero: records of an attempt never step back with the wall clock.
  const std::int64_t wall_offset_nanos_;
  const EagerEngineOptions options_;
  StepReadback readback_;
  StepState known_;              // after the last iteration the host was told of
  process::SteadyTime learned_;  // when that was, or when RunUntil began
  std::vector<IterationReport> reports_;
};

}  // namespace mantissa::trainer
