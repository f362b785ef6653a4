#include "worker/studies/run/run_setup.h"

#include <memory>
#include <vector>

#include "worker/amp/loss_scaler.h"
#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

std::vector<spec::Parameter> ParametersOf(const RunSetupOptions& options) {
  return spec::ModelParameters(options.training.model(), options.data.shape().sample);
}

ProcessGlobals GlobalsOf(const RunSetupOptions& options) {
  return {.threads = options.threads,
          .deterministic = options.training.execution().deterministic(),
          .tf32 = options.training.precision().mode() == v1::PrecisionSpec::TF32};
}

// First of all the process: what is built next may run operations.
std::unique_ptr<Model> PreparedModel(const RunSetupOptions& options, const ProcessGlobals& globals,
                                     const StudyEnvironment& environment) {
  ResetProcess(globals);
  return BuildModel(options.training.model(), options.data.shape().sample, options.training.seed(), environment.device);
}

RunStateOptions StateOptions(const RunSetupOptions& options, at::Device device) {
  const v1::TrainingSpec& training = options.training;
  RunStateOptions state;
  state.optimizer = training.optimizer();
  state.schedule = training.schedule();
  state.horizon = options.iterations;
  state.scaler = ScalerSettingsFrom(training.precision(), training.max_grad_norm());
  state.groups = training.parameter_groups();
  state.stored_weights = WeightStorageOf(training.precision(), ParametersOf(options), device);
  return state;
}

StepProgramOptions ProgramOptions(const RunSetupOptions& options, const StudyEnvironment& environment) {
  const v1::TrainingSpec& training = options.training;
  return {options.data,
          BatchPlan({.samples = options.data.size(),
                     .batch_size = training.batch_size(),
                     .accumulation = training.accumulation(),
                     .seed = training.seed()}),
          PrecisionPolicy(training.precision(), ParametersOf(options),
                          LackingModes(training.precision(), environment.precisions)),
          training.seed()};
}

}  // namespace

RunSetup::RunSetup(const RunSetupOptions& options, const StudyEnvironment& environment)
    : globals_(GlobalsOf(options)),
      state_(PreparedModel(options, globals_, environment), StateOptions(options, environment.device),
             environment.device),
      program_(state_, ProgramOptions(options, environment)),
      engine_(state_, program_, environment.clock) {
  state_.model().parameters().CastWeights();
}

}  // namespace mantissa::trainer
