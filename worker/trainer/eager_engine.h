// Runs a StepProgram operation by operation and reads its verdict after every iteration. On CPU the verdict lies in
// host memory; on CUDA each read waits for the device.
#pragma once

#include <vector>

#include "process/clock.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

// Not thread-safe.
class EagerEngine final : public Engine {
 public:
  EagerEngine(RunState& state, StepProgram& program, const process::Clock& clock);

  bool RunUntil(const Boundary& boundary, Control& control) override;
  std::vector<IterationReport> Poll() override;
  void Drain() override {}

 private:
  void Report(const StepState& step, process::SteadyTime began, process::SteadyTime ended, std::int64_t samples);

  RunState& state_;
  StepProgram& program_;
  const process::Clock& clock_;
  // Wall time of steady time zero: records of an attempt never step back with the wall clock.
  const std::int64_t wall_offset_nanos_;
  std::vector<IterationReport> reports_;
};

}  // namespace mantissa::trainer
