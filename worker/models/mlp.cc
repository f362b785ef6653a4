#include "worker/models/mlp.h"

#include "absl/strings/str_cat.h"

#include "worker/models/linear_init.h"

namespace mantissa::trainer {

Mlp::Mlp(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed, at::Device device)
    : Model(spec::ModelParameters(model, sample), device),
      activation_(ActivationFrom(model.mlp().activation())),
      dropout_(model.mlp().dropout()) {
  for (int i = 0; i < model.mlp().hidden_size(); ++i) {
    layers_.push_back(parameters_.LinearAt(absl::StrCat("layers.", i)));
  }
  layers_.push_back(parameters_.LinearAt("head"));
  InitialiseLikeLinear(parameters_, seed);
}

at::Tensor Mlp::Forward(const at::Tensor& input, const ForwardContext& context) {
  at::Tensor x = input.dim() == 2 ? input : input.flatten(1);
  const std::size_t head = layers_.size() - 1;
  for (std::size_t i = 0; i < head; ++i) {
    x = context.Linear(layers_[i], x, activation_);
    if (context.training) x = context.policy.Dropout(x, dropout_, context.key, static_cast<std::int32_t>(i));
  }
  return context.Linear(layers_[head], x);
}

}  // namespace mantissa::trainer
