#include "worker/trainer/lineage_start.h"

#include "proto/spec/lineage.h"
#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {

v1::Lineage LineageOf(const v1::RunAttempt& run, const v1::JobSpec& spec) {
  return run.has_lineage() ? run.lineage() : spec::FirstLineage(spec.training().precision());
}

v1::JobSpec InLineage(const v1::JobSpec& spec, const v1::Lineage& lineage) {
  v1::JobSpec changed = spec;
  v1::TrainingSpec& training = *changed.mutable_training();
  training.mutable_precision()->set_mode(lineage.precision());
  const auto scale = [&](auto& holder) {
    holder.set_learning_rate(holder.learning_rate() * lineage.learning_rate_factor());
  };
  v1::OptimizerSpec& optimizer = *training.mutable_optimizer();
  if (optimizer.has_adamw()) scale(*optimizer.mutable_adamw());
  if (optimizer.has_adam()) scale(*optimizer.mutable_adam());
  if (optimizer.has_sgd()) scale(*optimizer.mutable_sgd());
  for (v1::ParameterGroup& group : *training.mutable_parameter_groups()) {
    if (group.has_learning_rate()) scale(group);
  }
  return changed;
}

void BeginLineage(const v1::Lineage& lineage, const Manifest& saved, const ScalerSettings& settings,
                  RunSnapshot& snapshot) {
  if (saved.lineage == lineage.number()) return;
  snapshot.lineage = lineage.number();
  snapshot.step.skips_in_row = 0;  // they are answered; what they led to begins to count anew
  if (saved.precision == v1::PrecisionSpec::Mode_Name(lineage.precision())) return;
  const StepState first = InitialStepState(settings);
  snapshot.step.loss_scale = first.loss_scale;
  snapshot.step.growth_tracker = first.growth_tracker;
  snapshot.step.hysteresis_tracker = first.hysteresis_tracker;
}

}  // namespace mantissa::trainer
