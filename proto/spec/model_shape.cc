#include "proto/spec/model_shape.h"

#include <utility>

#include "absl/strings/str_cat.h"

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
    case ModuleType::kLayerNorm:
      return "LayerNorm";
    case ModuleType::kEmbedding:
      return "Embedding";
  }
  return "";
}

bool IsProductOperand(const Parameter& parameter) {
  // The position table is only added.
  return IsDecayed(parameter.kind) && parameter.path != "position_embedding.weight";
}

bool IsDecayed(ParameterKind kind) { return kind == ParameterKind::kWeight || kind == ParameterKind::kEmbedding; }

std::optional<SampleShape> SampleShapeOf(const v1::TrainingSpec& training) {
  const v1::DataSource& train = training.data().train();
  if (train.has_text()) return SampleShape{.features = {}, .classes = kTextVocabulary};
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
    case v1::Model::KIND_NOT_SET:
      break;
  }
  return {};
}

std::int64_t ParameterCount(const std::vector<Parameter>& parameters) {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters) count = SaturatingAdd(count, parameter.elements());
  return count;
}

}  // namespace mantissa::spec
