#include "worker/models/layered_model.h"

#include <c10/util/Exception.h>

#include "worker/models/initialise.h"
#include "worker/models/linear_init.h"

namespace mantissa::trainer {
namespace {

using Kind = v1::Layer;

ConvolutionOptions OptionsOf(const v1::Layer::Convolution& convolution) {
  return {convolution.stride(), convolution.padding(), convolution.groups()};
}

PoolOptions OptionsOf(const v1::Layer::Pool& pool) { return {pool.kernel(), pool.stride()}; }

// (B, T, F) <-> (B, F, T): convolutions and pools over time take the features second.
at::Tensor Turned(const at::Tensor& x) { return x.transpose(1, 2); }

// (B, F) as a sequence of one feature.
at::Tensor AsSequence(const at::Tensor& x) { return x.dim() == 2 ? x.unsqueeze(2) : x; }

// (B, H, W) as an image of one channel.
at::Tensor AsImage(const at::Tensor& x) { return x.dim() == 3 ? x.unsqueeze(1) : x; }

}  // namespace

LayeredModel::LayeredModel(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed,
                           at::Device device)
    : Model(spec::ModelParameters(model, sample), device), tokens_(spec::ReadsTokens(model)) {
  statistics_ = RunningStatistics(spec::ModelBuffers(model, sample), device);
  const std::vector<spec::LayerPlan> plans = spec::PlanLayers(model, sample);
  TORCH_INTERNAL_ASSERT(!plans.empty(), "layers that do not fit together passed validation");
  layers_ = Resolve(plans);
  InitialiseLikeLinear(parameters_, seed);
  SetInitialWeights(layers_);
}

std::vector<LayeredModel::Layer> LayeredModel::Resolve(const std::vector<spec::LayerPlan>& plans) {
  std::vector<Layer> layers;
  for (const spec::LayerPlan& plan : plans) {
    Layer& layer = layers.emplace_back();
    layer.plan = plan;
    if (plan.layer.has_attention()) {
      layer.qkv = parameters_.LinearAt(plan.path + ".qkv");
      layer.proj = parameters_.LinearAt(plan.path + ".proj");
    } else if (!plan.parameters.empty()) {
      layer.own = parameters_.TiedLinear(plan.path, plan.parameters[0].path);
      if (plan.parameters.size() > 1) layer.own.bias = parameters_.at(plan.parameters[1].path);
    }
    if (!plan.buffers.empty()) {
      layer.committed_mean = statistics_.committed(plan.buffers[0].path);
      layer.committed_variance = statistics_.committed(plan.buffers[1].path);
      layer.pending_mean = statistics_.pending(plan.buffers[0].path);
      layer.pending_variance = statistics_.pending(plan.buffers[1].path);
    }
    if (plan.layer.has_dropout()) layer.site = dropouts_++;
    layer.inner = Resolve(plan.inner);
  }
  return layers;
}

void LayeredModel::SetInitialWeights(const std::vector<Layer>& layers) {
  for (const Layer& layer : layers) {
    if (layer.plan.initial_weight) FillConstant(layer.own.weight, *layer.plan.initial_weight);
    SetInitialWeights(layer.inner);
  }
}

at::Tensor LayeredModel::Forward(const at::Tensor& input, const ForwardContext& context) {
  const at::Tensor logits = Run(layers_, input, context);
  return tokens_ ? logits.flatten(0, 1) : logits;
}

at::Tensor LayeredModel::Run(const std::vector<Layer>& layers, at::Tensor x, const ForwardContext& context) const {
  for (const Layer& layer : layers) x = context.Pass(layer.plan.path, RunOne(layer, x, context));
  return x;
}

at::Tensor LayeredModel::RunOne(const Layer& layer, const at::Tensor& x, const ForwardContext& context) const {
  const PrecisionPolicy& policy = context.policy;
  const PrecisionPolicy own = policy.Of(layer.plan.path);
  const v1::Layer& spec = layer.plan.layer;
  switch (spec.kind_case()) {
    case Kind::kLinear:
      return own.Linear(x, layer.own.weight, layer.own.bias, Activation::kNone, layer.own.stored());
    case Kind::kConv1D:
      return Turned(own.Convolution(Turned(AsSequence(x)), layer.own.weight, layer.own.bias, OptionsOf(spec.conv1d())));
    case Kind::kConv2D:
      return own.Convolution(AsImage(x), layer.own.weight, layer.own.bias, OptionsOf(spec.conv2d()));
    case Kind::kBatchNorm1D:
      // The features of every place in time are one batch.
      return BatchNorm(layer, spec.batch_norm1d(), x.flatten(0, -2), context).view(x.sizes());
    case Kind::kBatchNorm2D:
      return BatchNorm(layer, spec.batch_norm2d(), x, context);
    case Kind::kBatchNorm3D:
      return BatchNorm(layer, spec.batch_norm3d(), x, context);
    case Kind::kLayerNorm:
      return policy.LayerNorm(x, layer.own.weight, layer.own.bias, spec.layer_norm().epsilon());
    case Kind::kRmsNorm:
      return policy.RmsNorm(x, layer.own.weight, spec.rms_norm().epsilon());
    case Kind::kRelu:
      return policy.Activate(x, Activation::kRelu);
    case Kind::kGelu:
      return policy.Activate(x, Activation::kGelu);
    case Kind::kTanh:
      return policy.Activate(x, Activation::kTanh);
    case Kind::kLogSoftmax:
      return policy.LogSoftmax(x);
    case Kind::kDropout:
      return context.training ? policy.Dropout(x, spec.dropout().probability(), context.key, layer.site) : x;
    case Kind::kScale:
      return policy.Scale(x, spec.scale().factor());
    case Kind::kMaxPool1D:
      return Turned(policy.MaxPool(Turned(x), OptionsOf(spec.max_pool1d())));
    case Kind::kMaxPool2D:
      return policy.MaxPool(AsImage(x), OptionsOf(spec.max_pool2d()));
    case Kind::kAveragePool1D:
      return Turned(policy.AveragePool(Turned(x), OptionsOf(spec.average_pool1d())));
    case Kind::kAveragePool2D:
      return policy.AveragePool(AsImage(x), OptionsOf(spec.average_pool2d()));
    case Kind::kGlobalAveragePool:
      return x.dim() == 3 ? policy.Mean(x, {1}) : policy.Mean(x.flatten(2), {2});
    case Kind::kFlatten:
      return x.flatten(1);
    case Kind::kEmbedding: {
      const at::Tensor rows = policy.Embedding(layer.own.weight, x);
      return layer.own.bias.defined() ? policy.Add(rows, layer.own.bias.narrow(0, 0, x.size(1))) : rows;
    }
    case Kind::kAttention: {
      const v1::Layer::Attention& attention = spec.attention();
      const at::Tensor mixed = own.Attention(context.Linear(layer.qkv, x), attention.heads(), attention.causal());
      return context.Linear(layer.proj, mixed);
    }
    case Kind::kResidual:
      return policy.Add(x, Run(layer.inner, x, context));
    case Kind::KIND_NOT_SET:
      break;
  }
  TORCH_INTERNAL_ASSERT(false, "a layer without a kind passed validation");
}

at::Tensor LayeredModel::BatchNorm(const Layer& layer, const v1::Layer::BatchNorm& options, const at::Tensor& x,
                                   const ForwardContext& context) const {
  const BatchStatistics running = context.training ? BatchStatistics{layer.pending_mean, layer.pending_variance}
                                                   : BatchStatistics{layer.committed_mean, layer.committed_variance};
  return context.policy.BatchNorm(x, layer.own.weight, layer.own.bias, running,
                                  {context.training, options.momentum(), options.epsilon()});
}

}  // namespace mantissa::trainer
