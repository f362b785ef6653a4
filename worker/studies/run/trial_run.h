// A training that a study runs for a few iterations, to see what it takes.
#pragma once

#include <cstdint>

#include "mantissa/v1/training.pb.h"
#include "worker/data/dataset.h"
#include "worker/studies/run/run_setup.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

// Not thread-safe.
class TrialRun {
 public:
  // `training` is valid, has its defaults resolved and an accumulation. `data` is on the environment's device; both it
  // and `environment` outlive this. Sets the process to what the training's precision needs.
  TrialRun(const v1::TrainingSpec& training, const Dataset& data, const StudyEnvironment& environment);

  // Trains until so many windows have been consumed; false when a stop was requested, or the precision failed.
  bool TrainTo(std::int64_t iteration, Control& control);

  // Starts one more iteration, and does not wait for the device.
  void Step(Control& control);

  // The gradients of the first micro-batch, times the loss scale, are the parameters' .grad.
  void FirstGradients();

  RunState& state() { return setup_.state(); }

 private:
  RunSetup setup_;
  std::int64_t steps_ = 0;
};

}  // namespace mantissa::trainer
