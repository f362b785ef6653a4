// What the optimizer's tests train: a small seeded buffer and one spec of each optimizer, with values that are nobody's
// defaults.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"
#include "worker/optim/optimizer.h"

namespace mantissa::trainer {

inline constexpr std::int64_t kHorizon = 20;

// A weight of two chunks (so that threads share the work), and one parameter of every other kind.
inline std::vector<spec::Parameter> Shapes() {
  return {{"up.weight", {250, 300}, spec::ParameterKind::kWeight},
          {"up.bias", {250}, spec::ParameterKind::kBias},
          {"norm.weight", {7}, spec::ParameterKind::kNorm, spec::ModuleType::kLayerNorm},
          {"table.weight", {5, 3}, spec::ParameterKind::kEmbedding, spec::ModuleType::kEmbedding}};
}

inline bool Decays(std::size_t parameter) { return parameter == 0 || parameter == 3; }

inline v1::OptimizerSpec AdamWSpec() {
  v1::OptimizerSpec spec;
  v1::AdamW& adamw = *spec.mutable_adamw();
  adamw.set_learning_rate(0.02);
  adamw.set_beta1(0.8);
  adamw.set_beta2(0.95);
  adamw.set_epsilon(1e-3);
  adamw.set_weight_decay(0.1);
  return spec;
}

inline v1::OptimizerSpec AdamSpec() {
  v1::OptimizerSpec spec;
  v1::Adam& adam = *spec.mutable_adam();
  adam.set_learning_rate(0.02);
  adam.set_beta1(0.8);
  adam.set_beta2(0.95);
  adam.set_epsilon(1e-3);
  adam.set_weight_decay(0.1);
  return spec;
}

inline v1::OptimizerSpec SgdSpec(double momentum, bool nesterov, double weight_decay = 0.1) {
  v1::OptimizerSpec spec;
  v1::Sgd& sgd = *spec.mutable_sgd();
  sgd.set_learning_rate(0.05);
  sgd.set_momentum(momentum);
  sgd.set_nesterov(nesterov);
  sgd.set_weight_decay(weight_decay);
  return spec;
}

// A rate that differs in every step.
inline v1::ScheduleSpec Falling() {
  v1::ScheduleSpec schedule;
  schedule.mutable_linear()->set_warmup_steps(2);
  return schedule;
}

// Not Tensor::normal_, whose default argument GCC 12 takes for uninitialised under sanitizers.
inline void FillNormal(const at::Tensor& tensor) { tensor.copy_(at::randn(tensor.sizes())); }

struct Group {
  std::string match;
  std::optional<double> learning_rate;
  std::optional<double> weight_decay;
};

inline spec::ParameterGroups Groups(const std::vector<Group>& groups) {
  spec::ParameterGroups result;
  for (const Group& group : groups) {
    v1::ParameterGroup& added = *result.Add();
    added.set_match(group.match);
    if (group.learning_rate) added.set_learning_rate(*group.learning_rate);
    if (group.weight_decay) added.set_weight_decay(*group.weight_decay);
  }
  return result;
}

// A seeded buffer, its optimizer, and gradients as a backward pass leaves them.
struct Subject {
  explicit Subject(const v1::OptimizerSpec& spec, const v1::ScheduleSpec& schedule = Falling(),
                   const spec::ParameterGroups& groups = {})
      : parameters(Shapes(), at::kCPU), optimizer(spec, schedule, kHorizon, parameters, groups) {
    at::manual_seed(41);
    for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
      FillNormal(parameters.ViewOf(parameters.values(), i));
    }
  }

  void DrawGradients(int draw, double scale = 1) {
    at::manual_seed(1000 + static_cast<std::uint64_t>(draw));
    for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
      const at::Tensor gradient = parameters.ViewOf(parameters.gradients(), i);
      FillNormal(gradient);
      gradient.mul_(scale);
    }
  }

  // The state as the verdict leaves it before the update that follows `step` applied ones; returned as Step left it.
  StepState Step(std::int64_t step, float factor, bool found_inf = false, Halt halt = Halt::kNone) {
    StepState state;
    state.step = step;
    state.factor = factor;
    state.found_inf = found_inf ? 1 : 0;
    state.halt = static_cast<std::int32_t>(halt);
    state.learning_rate = -1;
    const at::Tensor bytes = BytesOf(state);
    optimizer.Step(bytes);
    return StructOf<StepState>(bytes);
  }

  std::string Bytes() const {
    std::string bytes;
    const auto append = [&](const at::Tensor& tensor) {
      bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    };
    append(parameters.values());
    for (const NamedTensor& flat : optimizer.flat_state()) append(flat.tensor);
    return bytes;
  }

  ParameterBuffer parameters;
  Optimizer optimizer;
};

}  // namespace mantissa::trainer
