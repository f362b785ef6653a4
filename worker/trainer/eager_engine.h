// Runs a StepProgram operation by operation.
#pragma once

#include "worker/trainer/pipelined_engine.h"
#include "worker/trainer/step_readback.h"

namespace mantissa::trainer {

struct EagerEngineOptions {
  // Iterations that may have been started before the host knows what became of the first of them, 1 to 4. The results
  // are the same to the last bit. With 1 a device is waited for after every iteration.
  int in_flight = 1;
};

// Not thread-safe.
class EagerEngine final : public PipelinedEngine {
 public:
  EagerEngine(RunState& state, StepProgram& program, const process::Clock& clock,
              const EagerEngineOptions& options = {});

 private:
  bool StartIteration(std::int64_t iteration, Control& control) override;
  int pending() const override { return readback_.pending(); }
  Learned FinishIteration() override { return {readback_.Finish(), std::nullopt}; }
  std::span<const GradientStats> stats() const override { return readback_.stats(); }

  StepReadback readback_;
};

}  // namespace mantissa::trainer
