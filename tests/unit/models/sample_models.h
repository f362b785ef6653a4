// Specs of small models, resolved and valid, and the samples that they read.
#pragma once

#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "worker/models/model.h"

namespace mantissa::trainer {

// A spec, the shape of one sample and a batch of inputs that fits both.
struct SampleModel {
  v1::Model spec;
  spec::SampleShape sample;

  std::unique_ptr<Model> Build(std::uint64_t seed = 1) const { return BuildModel(spec, sample, seed, at::kCPU); }

  std::int64_t classes() const { return spec.has_gpt() ? spec.gpt().vocabulary() : sample.classes; }

  // FP32 (batch, features...) from a unit normal, or tokens (batch, context).
  at::Tensor Input(std::int64_t batch) const {
    if (spec::ReadsTokens(spec)) return at::randint(0, classes(), {batch, spec::ContextOf(spec)}, at::kLong);
    std::vector<std::int64_t> sizes = sample.features;
    sizes.insert(sizes.begin(), batch);
    return at::randn(sizes);
  }
};

inline SampleModel SampleMlp(const std::vector<int>& hidden, std::vector<std::int64_t> features, std::int64_t classes,
                             v1::Activation::Function activation = v1::Activation::RELU, double dropout = 0) {
  SampleModel model;
  v1::Mlp& mlp = *model.spec.mutable_mlp();
  mlp.mutable_hidden()->Add(hidden.begin(), hidden.end());
  mlp.set_activation(activation);
  mlp.set_dropout(dropout);
  model.sample = {.features = std::move(features), .classes = classes};
  return model;
}

inline SampleModel SampleEncoder(int layers, int width, int heads, std::vector<std::int64_t> features,
                                 std::int64_t classes, v1::Activation::Function activation = v1::Activation::RELU,
                                 double dropout = 0) {
  SampleModel model;
  v1::TransformerEncoder& encoder = *model.spec.mutable_transformer_encoder();
  encoder.set_layers(layers);
  encoder.set_d_model(width);
  encoder.set_heads(heads);
  encoder.set_d_feed_forward(3 * width);
  encoder.set_activation(activation);
  encoder.set_dropout(dropout);
  model.sample = {.features = std::move(features), .classes = classes};
  return model;
}

inline SampleModel SampleGpt(int layers, int width, int heads, int context, int vocabulary, double dropout = 0) {
  SampleModel model;
  v1::Gpt& gpt = *model.spec.mutable_gpt();
  gpt.set_layers(layers);
  gpt.set_d_model(width);
  gpt.set_heads(heads);
  gpt.set_context(context);
  gpt.set_vocabulary(vocabulary);
  gpt.set_dropout(dropout);
  model.sample = {.features = {}, .classes = vocabulary};
  return model;
}

}  // namespace mantissa::trainer
