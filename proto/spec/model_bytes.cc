// What a model costs in memory: exact for parameters, gradients and optimizer state, counted op by op for activations.
#include "proto/spec/layer_plan.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/module_precision.h"
#include "proto/spec/precision_table.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kFullBytes = 4;
constexpr std::int64_t kMaskBytes = 1;   // of dropout, an element
constexpr std::int64_t kIndexBytes = 8;  // of the largest in each window of a pool

// The formulas below give what is kept from forward to backward. `low` is the bytes of the compute format; an input
// that is cast is kept in both formats.

// Logits in the compute format, and the loss's log-probabilities and their gradient in FP32.
std::int64_t LogitsBytes(std::int64_t classes, std::int64_t low) {
  return SaturatingMultiply(classes, low + 2 * kFullBytes);
}

std::int64_t MlpSampleBytes(const v1::Mlp& mlp, const SampleShape& sample, std::int64_t low) {
  std::int64_t features = 1;
  for (const std::int64_t entry : sample.features) features = SaturatingMultiply(features, entry);
  std::int64_t bytes = SaturatingMultiply(features, kFullBytes + low);
  for (const std::int64_t width : mlp.hidden()) {
    // The linear layer's result, the activation's, and dropout's with its mask.
    bytes = SaturatingAdd(bytes, width * (2 * low + (mlp.dropout() > 0 ? low + kMaskBytes : 0)));
  }
  return SaturatingAdd(bytes, LogitsBytes(sample.classes, low));
}

// One token in one attention and feed-forward layer. Attention is fused: its scores are not kept.
std::int64_t LayerTokenBytes(std::int64_t width, std::int64_t inner, bool dropout, std::int64_t low) {
  // Two residual sums and two norms in FP32.
  std::int64_t bytes = 4 * width * kFullBytes;
  // Two cast inputs, queries, keys and values, attention's result, its projection, the result of `down`.
  bytes += 8 * width * low;
  // Before and after the activation.
  bytes += 2 * inner * low;
  if (dropout) bytes += 2 * width * kMaskBytes;
  return bytes;
}

std::int64_t TransformerEncoderSampleBytes(const v1::TransformerEncoder& model, const SampleShape& sample,
                                           std::int64_t low) {
  const std::int64_t time = sample.features.size() > 1 ? sample.features.front() : 1;
  const std::int64_t features = sample.features.empty() ? model.d_model() : sample.features.back();
  std::int64_t token = SaturatingMultiply(features, kFullBytes + low);
  token = SaturatingAdd(
      token, model.layers() * LayerTokenBytes(model.d_model(), model.d_feed_forward(), model.dropout() > 0, low));
  return SaturatingAdd(SaturatingMultiply(time, token), LogitsBytes(sample.classes, low));
}

std::int64_t GptSampleBytes(const v1::Gpt& model, std::int64_t low) {
  const std::int64_t width = model.d_model();
  std::int64_t token = 2 * width * kFullBytes;  // the two embeddings
  token += model.layers() * LayerTokenBytes(width, 4 * width, model.dropout() > 0, low);
  token = SaturatingAdd(token, LogitsBytes(model.vocabulary(), low));
  return SaturatingMultiply(model.context(), token);
}

// One layer alone. What follows a norm, a mean or a residual sum is FP32, and so may be what comes out of any layer
// that keeps the type it reads.
std::int64_t LayerSampleBytes(const LayerPlan& plan, std::int64_t low) {
  const std::int64_t in = Elements(plan.input);
  const std::int64_t out = Elements(plan.output);
  switch (plan.layer.kind_case()) {
    case v1::Layer::kFlatten:
      return 0;
    case v1::Layer::kLinear:
    case v1::Layer::kConv1D:
    case v1::Layer::kConv2D:
      return SaturatingMultiply(SaturatingAdd(in, out), low);
    case v1::Layer::kAttention:
      // The cast input, queries, keys and values, what they mix to, and its projection.
      return SaturatingMultiply(6 * in, low);
    case v1::Layer::kMaxPool1D:
    case v1::Layer::kMaxPool2D:
      return SaturatingMultiply(out, kFullBytes + kIndexBytes);
    case v1::Layer::kBatchNorm1D:
    case v1::Layer::kBatchNorm2D:
    case v1::Layer::kBatchNorm3D:
    case v1::Layer::kLayerNorm:
    case v1::Layer::kRmsNorm:
      return SaturatingMultiply(SaturatingAdd(in, out), kFullBytes);
    case v1::Layer::kDropout:
      return SaturatingMultiply(out, kFullBytes + kMaskBytes);
    default:
      return SaturatingMultiply(out, kFullBytes);
  }
}

std::int64_t LayeredSampleBytes(const v1::Model& model, const SampleShape& sample, std::int64_t low) {
  const std::vector<LayerPlan> layers = PlanLayers(model, sample);
  if (layers.empty()) return 0;
  std::int64_t bytes = SaturatingMultiply(Elements(layers.front().input), kFullBytes);
  ForEachLayer(layers, [&](const LayerPlan& layer) { bytes = SaturatingAdd(bytes, LayerSampleBytes(layer, low)); });
  return SaturatingAdd(bytes, LogitsBytes(Elements(layers.back().output), low));
}

std::int64_t SampleBytes(const v1::Model& model, const SampleShape& sample, std::int64_t low) {
  if (model.has_mlp()) return MlpSampleBytes(model.mlp(), sample, low);
  if (model.has_transformer_encoder()) {
    return TransformerEncoderSampleBytes(model.transformer_encoder(), sample, low);
  }
  if (IsLayered(model)) return LayeredSampleBytes(model, sample, low);
  return model.has_gpt() ? GptSampleBytes(model.gpt(), low) : 0;
}

// Weights in a low format, cast or stored.
std::int64_t CastBytes(const v1::PrecisionSpec& precision, const std::vector<Parameter>& parameters) {
  std::vector<const Parameter*> operands;
  std::vector<ComputingModule> modules;
  for (const Parameter& parameter : parameters) {
    if (!IsProductOperand(parameter)) continue;
    operands.push_back(&parameter);
    modules.push_back(ComputingModuleOf(parameter));
  }
  const std::vector<ModuleFormat> formats = FormatsOf(precision, modules);
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const NumberFormat format = ComputeFormat(formats[i].compute);
    if (!IsLow(format)) continue;
    bytes = SaturatingAdd(bytes, SaturatingMultiply(operands[i]->elements(), FactsOf(format).bytes));
  }
  return bytes;
}

}  // namespace

std::int64_t MomentsOf(const v1::OptimizerSpec& optimizer) {
  if (optimizer.has_sgd()) return optimizer.sgd().momentum() > 0 ? 1 : 0;
  return 2;
}

std::int64_t ModelBytes::Total() const {
  std::int64_t total = 0;
  for (const std::int64_t part : {parameters, gradients, optimizer_state, buffers, casts, activations}) {
    total = SaturatingAdd(total, part);
  }
  return total;
}

ModelBytes EstimateModelBytes(const v1::TrainingSpec& training, const SampleShape& sample) {
  const std::vector<Parameter> parameters = ModelParameters(training.model(), sample);
  const std::int64_t low = FactsOf(ComputeFormat(training.precision().mode())).bytes;
  // Without an accumulation it is the trainer's to choose, down to a single sample.
  const std::int64_t micro_batch =
      training.has_accumulation() ? (training.batch_size() - 1) / training.accumulation() + 1 : 1;
  ModelBytes bytes;
  bytes.parameters = SaturatingMultiply(ParameterCount(parameters), kFullBytes);
  bytes.gradients = bytes.parameters;
  bytes.optimizer_state = SaturatingMultiply(bytes.parameters, MomentsOf(training.optimizer()));
  bytes.buffers = SaturatingMultiply(ParameterCount(ModelBuffers(training.model(), sample)), 2 * kFullBytes);
  bytes.casts = CastBytes(training.precision(), parameters);
  bytes.activations = SaturatingMultiply(micro_batch, SampleBytes(training.model(), sample, low));
  return bytes;
}

}  // namespace mantissa::spec
