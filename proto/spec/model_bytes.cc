// What a model costs in memory: exact for parameters, gradients and optimizer state, counted op by op for activations.
#include "proto/spec/model_shape.h"
#include "proto/spec/precision_table.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kFullBytes = 4;
constexpr std::int64_t kMaskBytes = 1;  // of dropout, an element

// Tensors of FP32 size that the optimizer keeps for each parameter.
std::int64_t MomentsOf(const v1::OptimizerSpec& optimizer) {
  if (optimizer.has_sgd()) return optimizer.sgd().momentum() > 0 ? 1 : 0;
  return 2;
}

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

std::int64_t SampleBytes(const v1::Model& model, const SampleShape& sample, std::int64_t low) {
  if (model.has_mlp()) return MlpSampleBytes(model.mlp(), sample, low);
  if (model.has_transformer_encoder()) {
    return TransformerEncoderSampleBytes(model.transformer_encoder(), sample, low);
  }
  return model.has_gpt() ? GptSampleBytes(model.gpt(), low) : 0;
}

// Weights that a matrix product reads: all but biases and norms, and the position table, which is only added.
std::int64_t CastElements(const std::vector<Parameter>& parameters) {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters) {
    if (IsDecayed(parameter.kind) && parameter.path != "position_embedding.weight") {
      count = SaturatingAdd(count, parameter.elements());
    }
  }
  return count;
}

}  // namespace

std::int64_t ModelBytes::Total() const {
  std::int64_t total = 0;
  for (const std::int64_t part : {parameters, gradients, optimizer_state, casts, activations}) {
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
  if (low < kFullBytes) bytes.casts = SaturatingMultiply(CastElements(parameters), low);
  bytes.activations = SaturatingMultiply(micro_batch, SampleBytes(training.model(), sample, low));
  return bytes;
}

}  // namespace mantissa::spec
