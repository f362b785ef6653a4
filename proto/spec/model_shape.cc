#include "proto/spec/model_shape.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "proto/spec/layer_plan.h"
#include "proto/spec/saturating.h"

namespace mantissa::spec {
namespace {

// Lists the parameters of modules in the order they are made.
class ParameterList {
 public:
  void AddLinear(const std::string& path, std::int64_t in, std::int64_t out) {
    parameters_.push_back({path + ".weight", {out, in}, ParameterKind::kWeight, ModuleType::kLinear});
    parameters_.push_back({path + ".bias", {out}, ParameterKind::kBias, ModuleType::kLinear});
  }
  void AddNorm(const std::string& path, std::int64_t width) {
    parameters_.push_back({path + ".weight", {width}, ParameterKind::kNorm, ModuleType::kLayerNorm});
    parameters_.push_back({path + ".bias", {width}, ParameterKind::kNorm, ModuleType::kLayerNorm});
  }
  void AddEmbedding(const std::string& path, std::int64_t rows, std::int64_t width) {
    parameters_.push_back({path + ".weight", {rows, width}, ParameterKind::kEmbedding, ModuleType::kEmbedding});
  }
  void AddAttention(const std::string& path, std::int64_t width) {
    AddLinear(path + ".qkv", width, 3 * width);
    AddLinear(path + ".proj", width, width);
  }
  void AddFeedForward(const std::string& path, std::int64_t width, std::int64_t inner) {
    AddLinear(path + ".up", width, inner);
    AddLinear(path + ".down", inner, width);
  }

  std::vector<Parameter> Take() { return std::move(parameters_); }

 private:
  std::vector<Parameter> parameters_;
};

std::vector<Parameter> MlpParameters(const v1::Mlp& mlp, const SampleShape& sample) {
  ParameterList list;
  std::int64_t width = 1;
  for (const std::int64_t entry : sample.features) width = SaturatingMultiply(width, entry);
  for (int i = 0; i < mlp.hidden_size(); ++i) {
    list.AddLinear(absl::StrCat("layers.", i), width, mlp.hidden(i));
    width = mlp.hidden(i);
  }
  list.AddLinear("head", width, sample.classes);
  return list.Take();
}

std::vector<Parameter> TransformerEncoderParameters(const v1::TransformerEncoder& model, const SampleShape& sample) {
  ParameterList list;
  const std::int64_t width = model.d_model();
  const std::int64_t features = sample.features.empty() ? width : sample.features.back();
  if (features != width) list.AddLinear("input", features, width);
  for (int i = 0; i < model.layers(); ++i) {
    const std::string layer = absl::StrCat("layers.", i);
    list.AddAttention(layer + ".attention", width);
    list.AddNorm(layer + ".norm1", width);
    list.AddFeedForward(layer + ".feed_forward", width, model.d_feed_forward());
    list.AddNorm(layer + ".norm2", width);
  }
  list.AddLinear("head", width, sample.classes);
  return list.Take();
}

std::vector<Parameter> GptParameters(const v1::Gpt& model) {
  ParameterList list;
  const std::int64_t width = model.d_model();
  list.AddEmbedding("token_embedding", model.vocabulary(), width);
  list.AddEmbedding("position_embedding", model.context(), width);
  for (int i = 0; i < model.layers(); ++i) {
    const std::string block = absl::StrCat("blocks.", i);
    list.AddNorm(block + ".norm1", width);
    list.AddAttention(block + ".attention", width);
    list.AddNorm(block + ".norm2", width);
    list.AddFeedForward(block + ".feed_forward", width, 4 * width);
  }
  list.AddNorm("norm", width);  // the head is token_embedding.weight
  return list.Take();
}

// What the layers hold, one after another.
std::vector<Parameter> LayeredTensors(const v1::Model& model, const SampleShape& sample,
                                      std::vector<Parameter> LayerPlan::*held) {
  std::vector<Parameter> all;
  ForEachLayer(PlanLayers(model, sample),
               [&](const LayerPlan& layer) { all.insert(all.end(), (layer.*held).begin(), (layer.*held).end()); });
  return all;
}

}  // namespace

std::int64_t Parameter::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count = SaturatingMultiply(count, size);
  return count;
}

std::string_view ParameterKindName(ParameterKind kind) {
  switch (kind) {
    case ParameterKind::kWeight:
      return "Weight";
    case ParameterKind::kBias:
      return "Bias";
    case ParameterKind::kNorm:
      return "Norm";
    case ParameterKind::kEmbedding:
      return "Embedding";
  }
  return "";
}

std::string_view ModuleTypeName(ModuleType type) {
  switch (type) {
    case ModuleType::kLinear:
      return "Linear";
    case ModuleType::kConv1d:
      return "Conv1d";
    case ModuleType::kConv2d:
      return "Conv2d";
    case ModuleType::kBatchNorm1d:
      return "BatchNorm1d";
    case ModuleType::kBatchNorm2d:
      return "BatchNorm2d";
    case ModuleType::kBatchNorm3d:
      return "BatchNorm3d";
    case ModuleType::kLayerNorm:
      return "LayerNorm";
    case ModuleType::kRmsNorm:
      return "RMSNorm";
    case ModuleType::kEmbedding:
      return "Embedding";
  }
  return "";
}

bool IsProductOperand(const Parameter& parameter) {
  return parameter.kind == ParameterKind::kWeight || parameter.path == "token_embedding.weight";
}

bool IsStoredLow(const Parameter& parameter) { return IsProductOperand(parameter) && parameter.shape.size() == 2; }

bool IsDecayed(ParameterKind kind) { return kind == ParameterKind::kWeight || kind == ParameterKind::kEmbedding; }

bool ReadsTokens(const v1::Model& model) {
  if (model.has_gpt()) return true;
  return model.sequential().layers_size() > 0 && model.sequential().layers(0).has_embedding();
}

std::int64_t ContextOf(const v1::Model& model) {
  if (model.has_gpt()) return model.gpt().context();
  return ReadsTokens(model) ? model.sequential().layers(0).embedding().context() : 0;
}

std::int32_t VocabularyOf(const v1::DataSource& source) {
  if (source.has_text()) return kTextVocabulary;
  if (source.has_tokens()) return source.tokens().vocabulary();
  return source.has_synthetic() ? source.synthetic().classes() : 0;
}

std::optional<SampleShape> SampleShapeOf(const v1::TrainingSpec& training) {
  const v1::DataSource& train = training.data().train();
  if (train.has_text() || train.has_tokens()) return SampleShape{.features = {}, .classes = VocabularyOf(train)};
  if (!train.has_synthetic()) return std::nullopt;
  const v1::Synthetic& synthetic = train.synthetic();
  return SampleShape{.features = {synthetic.shape().begin(), synthetic.shape().end()}, .classes = synthetic.classes()};
}

std::vector<Parameter> ModelParameters(const v1::Model& model, const SampleShape& sample) {
  switch (model.kind_case()) {
    case v1::Model::kMlp:
      return MlpParameters(model.mlp(), sample);
    case v1::Model::kTransformerEncoder:
      return TransformerEncoderParameters(model.transformer_encoder(), sample);
    case v1::Model::kGpt:
      return GptParameters(model.gpt());
    case v1::Model::kConvnet:
    case v1::Model::kSequential:
    case v1::Model::kPathological:
      return LayeredTensors(model, sample, &LayerPlan::parameters);
    case v1::Model::KIND_NOT_SET:
      break;
  }
  return {};
}

std::vector<Parameter> ModelBuffers(const v1::Model& model, const SampleShape& sample) {
  return IsLayered(model) ? LayeredTensors(model, sample, &LayerPlan::buffers) : std::vector<Parameter>();
}

std::int64_t ParameterCount(const std::vector<Parameter>& parameters) {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters) count = SaturatingAdd(count, parameter.elements());
  return count;
}

}  // namespace mantissa::spec
