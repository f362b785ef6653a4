#include "worker/trainer/eager_engine.h"

namespace mantissa::trainer {

EagerEngine::EagerEngine(RunState& state, StepProgram& program, const process::Clock& clock,
                         const EagerEngineOptions& options)
    : PipelinedEngine(state, program, clock, options.in_flight),
      readback_(state.iteration_state(), options.in_flight) {}

bool EagerEngine::StartIteration(std::int64_t iteration, Control& control) {
  if (!program().Run(iteration, control)) return false;
  readback_.Start();
  return true;
}

}  // namespace mantissa::trainer
