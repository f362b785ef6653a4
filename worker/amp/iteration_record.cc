#include "worker/amp/iteration_record.h"

namespace mantissa::trainer {

IterationRecord RecordFrom(const StepState& state) {
  IterationRecord record;
  record.iteration = state.iteration;
  record.step = state.step;
  record.loss = state.loss;
  record.loss_scale = state.used_loss_scale;
  record.next_loss_scale = state.loss_scale;
  record.applied = state.found_inf == 0;
  record.cause = static_cast<SkipCause>(state.cause);
  if (record.applied) record.grad_norm = state.grad_norm;
  record.learning_rate = state.learning_rate;
  record.growth_tracker = state.growth_tracker;
  record.hysteresis_tracker = state.hysteresis_tracker;
  record.halt = static_cast<Halt>(state.halt);
  return record;
}

}  // namespace mantissa::trainer
