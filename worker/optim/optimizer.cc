#include "worker/optim/optimizer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace mantissa::trainer {
namespace {

OptimizerSettings SettingsFrom(const v1::OptimizerSpec& spec, const v1::ScheduleSpec& schedule, std::int64_t horizon) {
  OptimizerSettings settings;
  switch (spec.kind_case()) {
    case v1::OptimizerSpec::kSgd:
      settings.kind = OptimizerSettings::kSgd;
      settings.momentum = spec.sgd().momentum();
      settings.nesterov = spec.sgd().nesterov() ? 1 : 0;
      break;
    case v1::OptimizerSpec::kAdam:
      settings.kind = OptimizerSettings::kAdam;
      settings.beta1 = spec.adam().beta1();
      settings.beta2 = spec.adam().beta2();
      settings.epsilon = spec.adam().epsilon();
      break;
    case v1::OptimizerSpec::kAdamw:
    case v1::OptimizerSpec::KIND_NOT_SET:
      settings.kind = OptimizerSettings::kAdamW;
      settings.beta1 = spec.adamw().beta1();
      settings.beta2 = spec.adamw().beta2();
      settings.epsilon = spec.adamw().epsilon();
      break;
  }
  settings.schedule = ScheduleFrom(schedule, spec::OptimizerUpdate(spec).learning_rate, horizon);
  return settings;
}

// Groups as shares of the schedule's rate, so that whatever lowers that one lowers them all.
std::vector<UpdateRule> RulesFrom(const v1::OptimizerSpec& spec, const spec::ParameterGroups& groups,
                                  const ParameterBuffer& parameters) {
  std::vector<spec::Parameter> shapes;
  for (const Parameter& parameter : parameters.parameters()) shapes.push_back(parameter.shape);
  const double peak = spec::OptimizerUpdate(spec).learning_rate;
  std::vector<UpdateRule> rules;
  for (const spec::UpdateSettings& update : spec::ParameterUpdates(spec, groups, shapes)) {
    // Of its own rate an optimizer takes exactly 1, also where that rate is 0.
    rules.push_back({update.learning_rate == peak ? 1 : update.learning_rate / peak, update.weight_decay});
  }
  return rules;
}

// At least one, so that a model without parameters has a table too.
template <class T>
at::Tensor TensorOf(const T* values, std::size_t count, at::Device device) {
  at::Tensor bytes = at::zeros({static_cast<std::int64_t>(std::max<std::size_t>(count, 1) * sizeof(T))}, at::kByte);
  if (count > 0) std::memcpy(bytes.data_ptr(), values, count * sizeof(T));
  return bytes.to(device);
}

}  // namespace

Optimizer::Optimizer(const v1::OptimizerSpec& spec, const v1::ScheduleSpec& schedule, std::int64_t horizon,
                     ParameterBuffer& parameters, const spec::ParameterGroups& groups)
    : parameters_(parameters),
      settings_(SettingsFrom(spec, schedule, horizon)),
      rules_(RulesFrom(spec, groups, parameters)),
      settings_tensor_(TensorOf(&settings_, 1, parameters.values().device())),
      rules_tensor_(TensorOf(rules_.data(), rules_.size(), parameters.values().device())) {
  if (settings_.kind != OptimizerSettings::kSgd) {
    state_.push_back({"exp_avg", at::zeros_like(parameters.values())});
    state_.push_back({"exp_avg_sq", at::zeros_like(parameters.values())});
  } else if (settings_.momentum != 0) {
    state_.push_back({"momentum", at::zeros_like(parameters.values())});
  }
}

void Optimizer::Step(const at::Tensor& state) {
  c10::Dispatcher& dispatcher = c10::Dispatcher::singleton();
  using at::Tensor;
  using Optional = std::optional<Tensor>;
  const bool low = parameters_.stored_weights().defined();
  const Optional places = low ? Optional(parameters_.stored_places()) : std::nullopt;
  const Optional weights = low ? Optional(parameters_.stored_weights()) : std::nullopt;
  if (settings_.kind == OptimizerSettings::kSgd) {
    static const auto sgd = dispatcher.findSchemaOrThrow("mantissa::sgd", "")
                                .typed<void(const Tensor&, const Tensor&, const Optional&, const Tensor&, const Tensor&,
                                            const Tensor&, const Tensor&, const Optional&, const Optional&)>();
    sgd.call(parameters_.values(), parameters_.gradients(), state_.empty() ? std::nullopt : Optional(state_[0].tensor),
             parameters_.chunks(), rules_tensor_, settings_tensor_, state, places, weights);
    return;
  }
  static const auto adam =
      dispatcher.findSchemaOrThrow("mantissa::adam", "")
          .typed<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                      const Tensor&, const Tensor&, const Optional&, const Optional&)>();
  adam.call(parameters_.values(), parameters_.gradients(), state_[0].tensor, state_[1].tensor, parameters_.chunks(),
            rules_tensor_, settings_tensor_, state, places, weights);
}

std::vector<NamedTensor> Optimizer::StateTensors() const {
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& flat : state_) {
    for (std::size_t i = 0; i < parameters_.parameters().size(); ++i) {
      tensors.push_back(
          {absl::StrCat(flat.name, ".", parameters_.parameters()[i].shape.path), parameters_.ViewOf(flat.tensor, i)});
    }
  }
  return tensors;
}

}  // namespace mantissa::trainer
