#include "worker/trainer/step_program.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace mantissa::trainer {

StepProgram::StepProgram(RunState& state, const StepProgramOptions& options)
    : state_(state), options_(options), targets_per_sample_(std::max<std::int64_t>(1, options.data.shape().context)) {}

bool StepProgram::Run(std::int64_t iteration, Control& control) {
  const std::int64_t window = options_.plan.WindowAfter(iteration);
  IterationState& step = state_.iteration_state();
  ParameterBuffer& parameters = state_.model().parameters();
  const std::int64_t micro_batches = MicroBatchesIn(window);

  parameters.ZeroGradients();
  state_.model().BeginWindow();
  at::Tensor loss_sum;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    if (control.stop_requested()) return false;
    const at::Tensor loss = RunMicroBatch(window, m, options_.probe);
    // Sums over micro-batches are kept in double: there may be thousands of them.
    if (m == 0) {
      loss_sum = micro_batches == 1 ? loss : loss.to(at::kDouble);
    } else {
      loss_sum.add_(loss);
    }
  }
  step.Measure(parameters.gradients());
  step.Judge(loss_sum, TargetsIn(window));
  state_.optimizer().Step(step.state());
  state_.model().CommitBuffers(step);
  step.Finish();
  return true;
}

at::Tensor StepProgram::RunMicroBatch(std::int64_t window, std::int64_t micro_batch, ActivationProbe* probe) {
  options_.plan.MicroBatch(window, micro_batch, indices_);
  options_.data.Gather(indices_, batch_);
  const RandomKey key = {options_.seed, static_cast<std::int32_t>(window), static_cast<std::int32_t>(micro_batch)};
  const at::Tensor logits = state_.model().Forward(batch_.input, {options_.policy, key, /*training=*/true, probe});
  const at::Tensor loss = options_.policy.CrossEntropy(logits, batch_.target);
  loss.backward(BackwardSeed(window));
  return loss.detach();
}

const at::Tensor& StepProgram::BackwardSeed(std::int64_t window) const {
  return state_.iteration_state().BackwardSeed(TargetsIn(window));
}

}  // namespace mantissa::trainer
