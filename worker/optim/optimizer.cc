#include "worker/optim/optimizer.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>

namespace mantissa::trainer {
namespace {

OptimizerSettings SettingsFrom(const v1::OptimizerSpec& spec, const v1::ScheduleSpec& schedule, std::int64_t horizon) {
  OptimizerSettings settings;
  double learning_rate = 0;
  switch (spec.kind_case()) {
    case v1::OptimizerSpec::kSgd:
      settings.kind = OptimizerSettings::kSgd;
      learning_rate = spec.sgd().learning_rate();
      settings.momentum = spec.sgd().momentum();
      settings.nesterov = spec.sgd().nesterov() ? 1 : 0;
      settings.weight_decay = spec.sgd().weight_decay();
      break;
    case v1::OptimizerSpec::kAdam:
      settings.kind = OptimizerSettings::kAdam;
      learning_rate = spec.adam().learning_rate();
      settings.beta1 = spec.adam().beta1();
      settings.beta2 = spec.adam().beta2();
      settings.epsilon = spec.adam().epsilon();
      settings.weight_decay = spec.adam().weight_decay();
      break;
    case v1::OptimizerSpec::kAdamw:
    case v1::OptimizerSpec::KIND_NOT_SET:
      settings.kind = OptimizerSettings::kAdamW;
      learning_rate = spec.adamw().learning_rate();
      settings.beta1 = spec.adamw().beta1();
      settings.beta2 = spec.adamw().beta2();
      settings.epsilon = spec.adamw().epsilon();
      settings.weight_decay = spec.adamw().weight_decay();
      break;
  }
  settings.schedule = ScheduleFrom(schedule, learning_rate, horizon);
  return settings;
}

at::Tensor TensorOf(const OptimizerSettings& settings, at::Device device) {
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(sizeof(settings))}, at::kByte);
  std::memcpy(bytes.data_ptr(), &settings, sizeof(settings));
  return bytes.to(device);
}

}  // namespace

Optimizer::Optimizer(const v1::OptimizerSpec& spec, const v1::ScheduleSpec& schedule, std::int64_t horizon,
                     ParameterBuffer& parameters)
    : parameters_(parameters),
      settings_(SettingsFrom(spec, schedule, horizon)),
      settings_tensor_(TensorOf(settings_, parameters.values().device())) {
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
  if (settings_.kind == OptimizerSettings::kSgd) {
    static const auto sgd = dispatcher.findSchemaOrThrow("mantissa::sgd", "")
                                .typed<void(const Tensor&, const Tensor&, const std::optional<Tensor>&, const Tensor&,
                                            const Tensor&, const Tensor&)>();
    sgd.call(parameters_.values(), parameters_.gradients(),
             state_.empty() ? std::nullopt : std::optional<Tensor>(state_[0].tensor), parameters_.chunks(),
             settings_tensor_, state);
    return;
  }
  static const auto adam = dispatcher.findSchemaOrThrow("mantissa::adam", "")
                               .typed<void(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                           const Tensor&, const Tensor&)>();
  adam.call(parameters_.values(), parameters_.gradients(), state_[0].tensor, state_[1].tensor, parameters_.chunks(),
            settings_tensor_, state);
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
