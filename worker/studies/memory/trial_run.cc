#include "worker/studies/memory/trial_run.h"

#include <algorithm>

#include "worker/amp/loss_scaler.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

std::vector<spec::Parameter> ParametersOf(const v1::TrainingSpec& training, const Dataset& data) {
  return spec::ModelParameters(training.model(), data.shape().sample);
}

// First of all: what is built next may run operations.
std::unique_ptr<Model> PreparedModel(const v1::TrainingSpec& training, const Dataset& data,
                                     const StudyEnvironment& environment) {
  ResetProcess({.threads = environment.threads,
                .deterministic = false,
                .tf32 = training.precision().mode() == v1::PrecisionSpec::TF32});
  return BuildModel(training.model(), data.shape().sample, training.seed(), environment.device);
}

RunStateOptions StateOptions(const v1::TrainingSpec& training, const Dataset& data) {
  RunStateOptions options;
  options.optimizer = training.optimizer();
  options.schedule = training.schedule();
  options.horizon = std::max(1, training.iterations());
  options.scaler = ScalerSettingsFrom(training.precision(), training.max_grad_norm());
  options.groups = training.parameter_groups();
  options.stored_weights = WeightStorageOf(training.precision(), ParametersOf(training, data));
  return options;
}

StepProgramOptions ProgramOptions(const v1::TrainingSpec& training, const Dataset& data) {
  return {data,
          BatchPlan({.samples = data.size(),
                     .batch_size = training.batch_size(),
                     .accumulation = training.accumulation(),
                     .seed = training.seed()}),
          PrecisionPolicy(training.precision(), ParametersOf(training, data), {}), training.seed()};
}

}  // namespace

TrialRun::TrialRun(const v1::TrainingSpec& training, const Dataset& data, const StudyEnvironment& environment)
    : state_(PreparedModel(training, data, environment), StateOptions(training, data), environment.device),
      program_(state_, ProgramOptions(training, data)),
      engine_(state_, program_, environment.clock) {}

bool TrialRun::TrainTo(std::int64_t iteration, Control& control) {
  // Iterations count windows, steps applied updates: the first alone is to end this.
  const Boundary boundary{.iteration = iteration, .step = iteration + 1};
  while (!engine_.RunUntil(boundary, control)) {
    engine_.Poll();
    if (control.stop_requested() || state_.step_state().halt != 0) return false;
  }
  engine_.Poll();
  return true;
}

void TrialRun::Step(Control& control) { program_.Run(steps_++, control); }

void TrialRun::FirstGradients() {
  state_.model().parameters().ZeroGradients();
  state_.model().BeginWindow();
  program_.RunMicroBatch(/*window=*/0, /*micro_batch=*/0, nullptr);
}

}  // namespace mantissa::trainer
