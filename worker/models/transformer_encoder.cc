#include "worker/models/transformer_encoder.h"

#include "absl/strings/str_cat.h"
#include <ATen/ops/mean.h>

#include "worker/models/linear_init.h"

namespace mantissa::trainer {

TransformerEncoder::TransformerEncoder(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed,
                                       at::Device device)
    : Model(spec::ModelParameters(model, sample), device),
      heads_(model.transformer_encoder().heads()),
      activation_(ActivationFrom(model.transformer_encoder().activation())),
      dropout_(model.transformer_encoder().dropout()) {
  const v1::TransformerEncoder& encoder = model.transformer_encoder();
  if (sample.features.back() != encoder.d_model()) input_ = parameters_.LinearAt("input");
  for (int i = 0; i < encoder.layers(); ++i) layers_.emplace_back(parameters_, absl::StrCat("layers.", i));
  head_ = parameters_.LinearAt("head");
  InitialiseLikeLinear(parameters_, seed);
}

at::Tensor TransformerEncoder::Forward(const at::Tensor& input, const ForwardContext& context) {
  const PrecisionPolicy& policy = context.policy;
  std::int32_t site = 0;
  const auto drop = [&](const at::Tensor& part) {
    const std::int32_t here = site++;
    return context.training ? policy.Dropout(part, dropout_, context.key, here) : part;
  };
  at::Tensor x = input.dim() == 2 ? input.unsqueeze(1) : input;
  if (input_) x = context.Linear(*input_, x).to(at::kFloat);
  for (const TransformerBlock& layer : layers_) {
    const at::Tensor attended = drop(layer.Attend(x, context, heads_, /*causal=*/false));
    x = context.LayerNorm(layer.norm1, policy.Add(x, attended));
    const at::Tensor fed = drop(layer.FeedForward(x, context, activation_));
    x = context.LayerNorm(layer.norm2, policy.Add(x, fed));
  }
  return context.Linear(head_, at::mean(x, at::IntArrayRef({1})));
}

}  // namespace mantissa::trainer
