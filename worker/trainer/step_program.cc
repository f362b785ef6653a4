#include "worker/trainer/step_program.h"

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include "worker/amp/loss_gradient.h"
#include "worker/amp/op.h"
#include "worker/data/sample_order.h"
#include "worker/models/head_loss.h"

namespace mantissa::trainer {

StepProgram::StepProgram(RunState& state, const StepProgramOptions& options)
    : state_(state), options_(options), targets_per_sample_(std::max<std::int64_t>(1, options.data.shape().context)) {}

bool StepProgram::Run(std::int64_t iteration, Control& control) {
  const std::int64_t window = options_.plan.WindowAfter(iteration);
  const std::int64_t micro_batches = MicroBatchesIn(window);
  Begin();
  at::Tensor loss_sum;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    if (control.stop_requested()) return false;
    AddLoss(RunMicroBatch(window, m, options_.probe), micro_batches, loss_sum);
  }
  Update(loss_sum, TargetsIn(window));
  return true;
}

void StepProgram::RunNext(std::int64_t size) {
  using Optional = std::optional<at::Tensor>;
  static const auto begin_iteration =
      FindOp<void(const at::Tensor&, double, const at::Tensor&, const Optional&, const Optional&, const Optional&,
                  const Optional&)>("mantissa::begin_iteration");
  if (!position_) position_ = MakePosition();
  const auto& [order, skipped, window] = *position_;
  const std::int64_t micro_batches = options_.plan.MicroBatchesOf(size);
  const std::int64_t targets = size * targets_per_sample_;
  // BackwardSeed, ZeroGradients and the window in one launch.
  const at::Tensor seed = at::empty({}, at::TensorOptions(at::kFloat).device(state_.device()));
  ParameterBuffer& parameters = state_.model().parameters();
  begin_iteration.call(state_.iteration_state().state(), static_cast<double>(targets), seed, parameters.gradients(),
                       parameters.zeroed(), skipped, window);
  parameters.AwaitFirstParts();
  state_.model().BeginWindow();
  at::Tensor loss_sum;
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    const std::int64_t begin = m * options_.plan.micro_batch_size();
    const std::int64_t count = std::min(options_.plan.micro_batch_size(), size - begin);
    Batch batch;
    TORCH_CHECK(options_.data.GatherPlaces({order, window, begin, count}, batch),
                "the data do not lie on the device that trains");
    const RandomKey key = {options_.seed, 0, static_cast<std::int32_t>(m), window};
    AddLoss(RunPasses(batch, key, options_.probe, seed), micro_batches, loss_sum);
  }
  Update(loss_sum, targets);
}

StepProgram::Position StepProgram::MakePosition() const {
  const SampleOrder order = options_.plan.order();
  const auto& ranges = options_.plan.lineage().skipped_windows();
  const at::Tensor bytes = at::empty({static_cast<std::int64_t>(sizeof(order))}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), &order, sizeof(order));
  const at::Tensor skipped = at::empty({ranges.size(), 2}, at::kLong);
  std::int64_t* to = ranges.empty() ? nullptr : skipped.mutable_data_ptr<std::int64_t>();
  for (const v1::IndexRange& range : ranges) {
    *to++ = range.first();
    *to++ = range.last();
  }
  const at::Device device = state_.device();
  return {bytes.to(device), skipped.to(device), at::zeros({1}, at::kLong).to(device)};
}

void StepProgram::Begin() {
  state_.model().parameters().ZeroGradients();
  state_.model().BeginWindow();
}

void StepProgram::AddLoss(const at::Tensor& loss, std::int64_t micro_batches, at::Tensor& sum) {
  if (sum.defined()) {
    sum.add_(loss);
  } else {
    sum = micro_batches == 1 ? loss : loss.to(at::kDouble);
  }
}

void StepProgram::Update(const at::Tensor& loss_sum, std::int64_t targets) {
  IterationState& step = state_.iteration_state();
  state_.model().parameters().ZeroMissingParts();
  step.Measure(state_.model().parameters().gradients());
  step.Judge(loss_sum, targets);
  state_.optimizer().Step(step.state());
  state_.model().CommitBuffers(step);
  step.Finish();
}

at::Tensor StepProgram::RunMicroBatch(std::int64_t window, std::int64_t micro_batch, ActivationProbe* probe) {
  options_.plan.MicroBatch(window, micro_batch, indices_);
  options_.data.Gather(indices_, batch_);
  const RandomKey key = {options_.seed, static_cast<std::int32_t>(window), static_cast<std::int32_t>(micro_batch)};
  return RunPasses(batch_, key, probe, BackwardSeed(window));
}

at::Tensor StepProgram::RunPasses(const Batch& batch, const RandomKey& key, ActivationProbe* probe,
                                  const at::Tensor& seed) {
  const ForwardContext context = {options_.policy, key, /*training=*/true, probe};
  if (const std::optional<HeadInput> end = state_.model().ForwardToHead(batch.input, context)) {
    const HeadLoss loss = RunHead(*end, batch.target, seed, context);
    end->features.backward(loss.gradient);
    return loss.loss_sum;
  }
  const at::Tensor logits = state_.model().Forward(batch.input, context);
  const LossGradient loss = CrossEntropyAndGradient(logits, batch.target, seed, /*overwrite=*/false);
  logits.backward(loss.gradient);
  return loss.loss_sum;
}

const at::Tensor& StepProgram::BackwardSeed(std::int64_t window) const {
  return state_.iteration_state().BackwardSeed(TargetsIn(window));
}

}  // namespace mantissa::trainer
