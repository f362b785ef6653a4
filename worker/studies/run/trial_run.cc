#include "worker/studies/run/trial_run.h"

#include <algorithm>

namespace mantissa::trainer {

TrialRun::TrialRun(const v1::TrainingSpec& training, const Dataset& data, const StudyEnvironment& environment)
    : setup_({training, data, std::max(1, training.iterations()), environment.threads}, environment) {}

bool TrialRun::TrainTo(std::int64_t iteration, Control& control) {
  // Iterations count windows, steps applied updates: the first alone is to end this.
  const Boundary boundary{.iteration = iteration, .step = iteration + 1};
  Engine& engine = setup_.engine();
  while (!engine.RunUntil(boundary, control)) {
    engine.Poll();
    if (control.stop_requested() || state().step_state().halt != 0) return false;
  }
  engine.Poll();
  return true;
}

void TrialRun::Step(Control& control) { setup_.program().Run(steps_++, control); }

void TrialRun::FirstGradients() {
  state().model().parameters().ZeroGradients();
  state().model().BeginWindow();
  setup_.program().RunMicroBatch(/*window=*/0, /*micro_batch=*/0, nullptr);
}

}  // namespace mantissa::trainer
