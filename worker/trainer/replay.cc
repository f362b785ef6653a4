#include "worker/trainer/replay.h"

#include <algorithm>
#include <string>
#include <utility>

#include <ATen/ATen.h>

#include "proto/spec/module_match.h"

namespace mantissa::trainer {
namespace {

using Stage = FaultLocation::Stage;

FaultLocation Count(Stage stage, const std::string& module, const at::Tensor& values) {
  FaultLocation location;
  location.stage = stage;
  location.module = module;
  location.inf_count = values.isinf().sum().item<std::int64_t>();
  location.nan_count = values.isnan().sum().item<std::int64_t>();
  location.element_count = values.numel();
  return location;
}

bool IsFinite(const FaultLocation& counted) { return counted.inf_count == 0 && counted.nan_count == 0; }

// Looks at the output of every module, and at the gradient of every output, behind what the run's own probe makes of
// it.
class FiniteProbe final : public ActivationProbe {
 public:
  explicit FiniteProbe(ActivationProbe* inner) : inner_(inner) {}

  at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
    at::Tensor passed = inner_ == nullptr ? output : inner_->Pass(module, output);
    if (!activation_) {
      FaultLocation counted = Count(Stage::kActivation, module, passed);
      if (!IsFinite(counted)) activation_ = std::move(counted);
    }
    if (passed.requires_grad()) {
      passed.register_hook([this, module](const at::Tensor& gradient) {
        gradients_.push_back(Count(Stage::kActivationGradient, module, gradient));
      });
    }
    return passed;
  }

  // The first in forward order that is not finite.
  const std::optional<FaultLocation>& activation() const { return activation_; }
  // All, in the order in which the backward pass made them.
  const std::vector<FaultLocation>& gradients() const { return gradients_; }

 private:
  ActivationProbe* const inner_;
  std::optional<FaultLocation> activation_;
  std::vector<FaultLocation> gradients_;
};

}  // namespace

std::optional<FaultLocation> Replay::Locate(const IterationRecord& record, Control& control) {
  const StepState after = state_.step_state();
  StepState during = after;
  during.halt = 0;
  during.loss_scale = after.used_loss_scale;
  state_.iteration_state().WriteState(during);

  std::optional<FaultLocation> location = Find(program_.options().plan.WindowAfter(record.iteration - 1), control);

  StepState released = after;
  released.halt = 0;
  released.next_replay = NextReplay(record.iteration);
  state_.iteration_state().WriteState(released);
  return location;
}

std::optional<FaultLocation> Replay::Find(std::int64_t window, Control& control) {
  const std::int64_t micro_batches = program_.MicroBatchesIn(window);
  state_.model().parameters().ZeroGradients();
  state_.model().BeginWindow();
  FaultLocation location;  // kNotReproduced
  for (std::int64_t m = 0; m < micro_batches; ++m) {
    if (control.stop_requested()) return std::nullopt;
    std::optional<FaultLocation> found = SearchMicroBatch(window, m);
    if (!found) continue;
    location = *std::move(found);
    location.micro_batch = m;
    break;
  }
  location.micro_batches = micro_batches;
  return location;
}

std::optional<FaultLocation> Replay::SearchMicroBatch(std::int64_t window, std::int64_t micro_batch) {
  FiniteProbe probe(program_.options().probe);
  const at::Tensor loss = program_.RunMicroBatch(window, micro_batch, &probe);
  const at::Tensor& input = program_.batch().input;
  if (input.is_floating_point()) {
    const FaultLocation counted = Count(Stage::kInput, "", input.to(program_.options().policy.input_type()));
    if (!IsFinite(counted)) return counted;
  }
  if (probe.activation()) return probe.activation();
  const FaultLocation counted_loss = Count(Stage::kLoss, "", loss);
  if (!IsFinite(counted_loss)) return counted_loss;

  const std::vector<Offender> offenders = Offending();
  const std::vector<Parameter>& parameters = state_.model().parameters().parameters();
  for (const FaultLocation& gradient : probe.gradients()) {
    if (!IsFinite(gradient)) return gradient;
    // The output's gradient was finite, so what is not finite in the module's own parameters began there.
    const auto own = std::find_if(offenders.begin(), offenders.end(), [&](const Offender& offender) {
      return spec::ModuleOf(parameters[offender.parameter].shape.path) == gradient.module;
    });
    if (own != offenders.end()) return InGradient(window, micro_batch, *own);
  }
  if (offenders.empty()) return std::nullopt;
  return InGradient(window, micro_batch, offenders.front());
}

FaultLocation Replay::InGradient(std::int64_t window, std::int64_t micro_batch, const Offender& offender) {
  const Parameter& parameter = state_.model().parameters().parameters()[offender.parameter];
  FaultLocation location;
  location.stage = Stage::kWeightGradient;
  location.module = spec::ModuleOf(parameter.shape.path);
  location.parameter = parameter.shape.path;
  location.inf_count = offender.inf_count;
  location.nan_count = offender.nan_count;
  location.element_count = parameter.shape.elements();
  if (micro_batch == 0) return location;
  // Once more by itself.
  state_.model().parameters().ZeroGradients();
  program_.RunMicroBatch(window, micro_batch, program_.options().probe);
  const std::vector<Offender> alone = Offending();
  const bool by_itself = std::any_of(alone.begin(), alone.end(),
                                     [&](const Offender& other) { return other.parameter == offender.parameter; });
  if (!by_itself) location.stage = Stage::kAccumulatedSum;
  return location;
}

std::vector<Offender> Replay::Offending() {
  state_.iteration_state().Measure(state_.model().parameters().gradients());
  return Offenders(state_.iteration_state().ReadStats());
}

std::int64_t Replay::NextReplay(std::int64_t iteration) {
  recent_.push_back(iteration);
  if (recent_.size() > kMost) recent_.pop_front();
  return recent_.size() < kMost ? iteration + 1 : recent_.front() + kWithin;
}

}  // namespace mantissa::trainer
