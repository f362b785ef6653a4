#include "worker/trainer/step_program.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace mantissa::trainer {

StepProgram::StepProgram(RunState& state, const StepProgramOptions& options)
    : state_(state), options_(options), targets_per_sample_(std::max<std::int64_t>(1, options.data.shape().context)) {}

bool StepProgram::Run(std::int64_t window, Control& control) {
  IterationState& iteration = state_.iteration_state();
  ParameterBuffer& parameters = state_.model().parameters();
  const std::int64_t targets = options_.plan.WindowSize(window) * targets_per_sample_;
  const std::int64_t micro_batches = options_.plan.MicroBatches(window);

  parameters.ZeroGradients();
  state_.model().BeginWindow();
  at::Tensor loss_sum;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    if (control.stop_requested()) return false;
    RunMicroBatch(window, m, targets, loss_sum);
  }
  iteration.Measure(parameters.gradients());
  iteration.Judge(loss_sum, targets);
  state_.optimizer().Step(iteration.state());
  state_.model().CommitBuffers(iteration);
  iteration.Finish();
  return true;
}

void StepProgram::RunMicroBatch(std::int64_t window, std::int64_t micro_batch, std::int64_t targets,
                                at::Tensor& loss_sum) {
  options_.plan.MicroBatch(window, micro_batch, indices_);
  options_.data.Gather(indices_, batch_);
  const RandomKey key = {options_.seed, static_cast<std::int32_t>(window), static_cast<std::int32_t>(micro_batch)};
  const at::Tensor logits = state_.model().Forward(batch_.input, {options_.policy, key, /*training=*/true});
  const at::Tensor loss = options_.policy.CrossEntropy(logits, batch_.target);
  loss.backward(state_.iteration_state().BackwardSeed(targets));
  // Sums over micro-batches are kept in double: there may be thousands of them.
  if (!loss_sum.defined()) {
    loss_sum = options_.plan.MicroBatches(window) == 1 ? loss.detach() : loss.detach().to(at::kDouble);
  } else {
    loss_sum.add_(loss.detach());
  }
}

}  // namespace mantissa::trainer
