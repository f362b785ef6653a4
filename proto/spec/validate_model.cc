#include "absl/strings/str_cat.h"

#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr int kMaxHiddenLayers = 64;
constexpr std::int32_t kMaxWidth = 1'048'576;
constexpr std::int32_t kMaxModelWidth = 65'536;

bool CheckDropout(double dropout, Checker& checker) {
  return checker.Number("dropout", dropout, {.min = 0, .max = 1, .max_open = true}, "0.1");
}

bool CheckActivation(v1::Activation::Function activation, Checker& checker) {
  return checker.KnownEnum("activation", activation, v1::Activation::Function_IsValid(activation));
}

// What every model with attention has.
bool CheckAttention(std::int32_t layers, std::int32_t d_model, std::int32_t heads, Checker& checker) {
  bool right = checker.Whole("layers", layers, 1, 256, 4);
  const bool width = checker.Whole("d_model", d_model, 1, kMaxModelWidth, 128);
  const bool head_count = checker.Whole("heads", heads, 1, 1024, 4);
  right = right && width && head_count;
  if (width && head_count && d_model % heads != 0) {
    checker.Add("d_model", ViolationReason::kConflict,
                absl::StrCat("is ", d_model, ", which ", heads,
                             " heads do not divide; a multiple of heads is allowed, such as ",
                             heads * ((d_model + heads - 1) / heads)));
    right = false;
  }
  return right;
}

bool CheckMlp(const v1::Mlp& mlp, Checker checker) {
  bool right = true;
  if (mlp.hidden_size() > kMaxHiddenLayers) {
    checker.Add(
        "hidden", ViolationReason::kOutOfRange,
        absl::StrCat("has ", mlp.hidden_size(), " layers; 0 to ", kMaxHiddenLayers, " are allowed, such as [128]"));
    right = false;
  }
  for (int i = 0; i < mlp.hidden_size() && i < kMaxHiddenLayers; ++i) {
    right &= checker.Whole(Indexed("hidden", i), mlp.hidden(i), 1, kMaxWidth, 128);
  }
  right &= CheckActivation(mlp.activation(), checker);
  right &= CheckDropout(mlp.dropout(), checker);
  return right;
}

bool CheckTransformerEncoder(const v1::TransformerEncoder& model, Checker checker) {
  bool right = CheckAttention(model.layers(), model.d_model(), model.heads(), checker);
  right &= checker.Whole("d_feed_forward", model.d_feed_forward(), 1, kMaxWidth, 512);
  right &= CheckActivation(model.activation(), checker);
  right &= CheckDropout(model.dropout(), checker);
  return right;
}

bool CheckGpt(const v1::Gpt& model, Checker checker) {
  bool right = CheckAttention(model.layers(), model.d_model(), model.heads(), checker);
  right &= checker.Whole("context", model.context(), 1, kMaxContext, 128);
  // Absent where the data is not tokens; that is said of the data.
  if (model.has_vocabulary()) right &= checker.Whole("vocabulary", model.vocabulary(), 2, kMaxVocabulary, 256);
  right &= CheckDropout(model.dropout(), checker);
  return right;
}

}  // namespace

bool CheckModel(const v1::Model& model, Checker checker) {
  switch (model.kind_case()) {
    case v1::Model::kMlp:
      return CheckMlp(model.mlp(), checker.Beneath("mlp"));
    case v1::Model::kTransformerEncoder:
      return CheckTransformerEncoder(model.transformer_encoder(), checker.Beneath("transformer_encoder"));
    case v1::Model::kGpt:
      return CheckGpt(model.gpt(), checker.Beneath("gpt"));
    case v1::Model::kConvnet:
      return CheckConvnet(model.convnet(), checker.Beneath("convnet"));
    case v1::Model::kSequential:
      return CheckSequential(model.sequential(), checker.Beneath("sequential"));
    case v1::Model::kPathological:
      return CheckPathological(model.pathological(), checker.Beneath("pathological"));
    case v1::Model::KIND_NOT_SET:
      break;
  }
  checker.Add(
      "", ViolationReason::kRequired,
      "is missing; name one of mlp, transformer_encoder, gpt, convnet, sequential and pathological, such as model: "
      "{mlp: {hidden: [128]}}");
  return false;
}

}  // namespace mantissa::spec
