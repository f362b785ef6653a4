#include "proto/spec/model_defaults.h"

#include <algorithm>
#include <limits>

#include "proto/spec/model_shape.h"

namespace mantissa::spec {
namespace {

#define DEFAULT(message, field, value) \
  if (!(message).has_##field()) (message).set_##field(value)

void ResolveEncoder(v1::TransformerEncoder& encoder) {
  DEFAULT(encoder, layers, 1);
  DEFAULT(encoder, d_model, 128);
  DEFAULT(encoder, heads, 4);
  const std::int64_t four_times = std::int64_t{4} * encoder.d_model();  // may leave 32 bits before it is checked
  DEFAULT(encoder, d_feed_forward,
          static_cast<std::int32_t>(std::clamp<std::int64_t>(four_times, std::numeric_limits<std::int32_t>::min(),
                                                             std::numeric_limits<std::int32_t>::max())));
  if (encoder.activation() == v1::Activation::ACTIVATION_UNSPECIFIED) encoder.set_activation(v1::Activation::RELU);
}

// Gpt's, or that of an embedding layer.
template <class Model>
void ResolveVocabulary(Model& model, const v1::DataSource& train) {
  if (const std::int32_t vocabulary = VocabularyOf(train); vocabulary > 0) DEFAULT(model, vocabulary, vocabulary);
}

void ResolveGpt(v1::Gpt& gpt, const v1::DataSource& train) {
  DEFAULT(gpt, layers, 4);
  DEFAULT(gpt, d_model, 128);
  DEFAULT(gpt, heads, 4);
  DEFAULT(gpt, context, kDefaultContext);
  ResolveVocabulary(gpt, train);
}

void ResolveConvnet(v1::Convnet& convnet) {
  if (convnet.channels_size() == 0) {
    convnet.add_channels(16);
    convnet.add_channels(32);
  }
  DEFAULT(convnet, convolutions, 1);
}

void ResolvePathological(v1::Pathological& model) {
  DEFAULT(model, width, 100);
  DEFAULT(model, tiny_weight, 1e-6);
  DEFAULT(model, huge_weight, 1e3);
}

void ResolveConvolution(v1::Layer::Convolution& convolution) {
  DEFAULT(convolution, kernel, 3);
  DEFAULT(convolution, stride, 1);
  DEFAULT(convolution, groups, 1);
  DEFAULT(convolution, bias, true);
}

void ResolveBatchNorm(v1::Layer::BatchNorm& norm) {
  DEFAULT(norm, epsilon, 1e-5);
  DEFAULT(norm, momentum, 0.1);
}

void ResolvePool(v1::Layer::Pool& pool) {
  DEFAULT(pool, kernel, 2);
  DEFAULT(pool, stride, pool.kernel());
}

}  // namespace

void ResolveLayer(v1::Layer& layer, bool tokens) {
  switch (layer.kind_case()) {
    case v1::Layer::kLinear:
      DEFAULT(*layer.mutable_linear(), bias, true);
      break;
    case v1::Layer::kConv1D:
      return ResolveConvolution(*layer.mutable_conv1d());
    case v1::Layer::kConv2D:
      return ResolveConvolution(*layer.mutable_conv2d());
    case v1::Layer::kBatchNorm1D:
      return ResolveBatchNorm(*layer.mutable_batch_norm1d());
    case v1::Layer::kBatchNorm2D:
      return ResolveBatchNorm(*layer.mutable_batch_norm2d());
    case v1::Layer::kBatchNorm3D:
      return ResolveBatchNorm(*layer.mutable_batch_norm3d());
    case v1::Layer::kLayerNorm:
      DEFAULT(*layer.mutable_layer_norm(), epsilon, 1e-5);
      break;
    case v1::Layer::kRmsNorm:
      DEFAULT(*layer.mutable_rms_norm(), epsilon, 1e-6);
      break;
    case v1::Layer::kDropout:
      DEFAULT(*layer.mutable_dropout(), probability, 0.1);
      break;
    case v1::Layer::kMaxPool1D:
      return ResolvePool(*layer.mutable_max_pool1d());
    case v1::Layer::kMaxPool2D:
      return ResolvePool(*layer.mutable_max_pool2d());
    case v1::Layer::kAveragePool1D:
      return ResolvePool(*layer.mutable_average_pool1d());
    case v1::Layer::kAveragePool2D:
      return ResolvePool(*layer.mutable_average_pool2d());
    case v1::Layer::kEmbedding:
      DEFAULT(*layer.mutable_embedding(), context, kDefaultContext);
      break;
    case v1::Layer::kAttention:
      DEFAULT(*layer.mutable_attention(), heads, 4);
      DEFAULT(*layer.mutable_attention(), causal, tokens);
      break;
    case v1::Layer::kResidual:
      for (v1::Layer& inner : *layer.mutable_residual()->mutable_layers()) ResolveLayer(inner, tokens);
      break;
    default:
      break;
  }
}

void ResolveModel(v1::Model& model, const v1::DataSource& train) {
  if (model.has_mlp()) {
    if (model.mlp().activation() == v1::Activation::ACTIVATION_UNSPECIFIED) {
      model.mutable_mlp()->set_activation(v1::Activation::RELU);
    }
  } else if (model.has_transformer_encoder()) {
    ResolveEncoder(*model.mutable_transformer_encoder());
  } else if (model.has_gpt()) {
    ResolveGpt(*model.mutable_gpt(), train);
  } else if (model.has_convnet()) {
    ResolveConvnet(*model.mutable_convnet());
  } else if (model.has_sequential()) {
    const bool tokens = ReadsTokens(model);
    for (v1::Layer& layer : *model.mutable_sequential()->mutable_layers()) ResolveLayer(layer, tokens);
    if (tokens) ResolveVocabulary(*model.mutable_sequential()->mutable_layers(0)->mutable_embedding(), train);
  } else if (model.has_pathological()) {
    ResolvePathological(*model.mutable_pathological());
  }
}

#undef DEFAULT

}  // namespace mantissa::spec
