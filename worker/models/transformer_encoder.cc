#include "worker/models/transformer_encoder.h"

#include "absl/strings/str_cat.h"
#include <ATen/ops/sum.h>

#include "worker/models/linear_init.h"
#include "worker/models/residual_stream.h"

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
  at::Tensor x = input.dim() == 2 ? input.unsqueeze(1) : input;
  if (input_) x = context.Linear(*input_, x).to(at::kFloat);
  at::Tensor read = x;
  ResidualStream stream(context, x, dropout_, /*first_site=*/0);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const TransformerBlock& layer = layers_[i];
    stream.Add(layer.Attend(read, context, heads_, /*causal=*/false));
    read = stream.BecomeNorm(layer.norm1, &layer.up);
    stream.Add(layer.FeedForward(read, context, activation_));
    read = stream.BecomeNorm(layer.norm2, i + 1 < layers_.size() ? &layers_[i + 1].qkv : nullptr);
  }
  // The mean, divided after the sum: its gradient comes back as one row for all of a sequence, which the norm's
  // backward pass reads as it is.
  const at::Tensor& x_last = stream.x();
  return context.Linear(head_, at::sum(x_last, at::IntArrayRef({1})) / x_last.size(1));
}

}  // namespace mantissa::trainer
