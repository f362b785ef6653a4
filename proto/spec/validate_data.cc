#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "proto/spec/model_shape.h"
#include "proto/spec/saturating.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr std::int32_t kMaxClasses = 1'048'576;
constexpr std::int32_t kMaxFeatures = 1'048'576;
constexpr std::int64_t kMaxSampleElements = std::int64_t{1} << 30;
constexpr int kMaxFiles = 1024;

// (F), (T, F), (C, H, W), (C, D, H, W)
int MostEntries(const v1::Model& model) {
  if (model.has_sequential()) return 4;
  return model.has_convnet() ? 3 : 2;
}

bool CheckSynthetic(const v1::Synthetic& data, const v1::Model& model, Checker checker) {
  bool right = checker.Whole("samples", data.samples(), 1, std::numeric_limits<std::int32_t>::max(), 4096);
  right &= checker.Whole("classes", data.classes(), 2, kMaxClasses, 10);
  if (ReadsTokens(model)) {
    if (data.shape_size() > 0) {
      checker.Add("shape", ViolationReason::kConflict,
                  "is given, but this model reads tokens; remove it and set classes");
      return false;
    }
    return right;
  }
  const int most = MostEntries(model);
  if (data.shape_size() > most) {
    checker.Add("shape", ViolationReason::kOutOfRange,
                absl::StrCat("has ", data.shape_size(), " entries; at most ", most,
                             " are allowed with this model, such as [8, 8]"));
    return false;
  }
  std::int64_t elements = 1;
  for (int i = 0; i < data.shape_size(); ++i) {
    if (!checker.Whole(Indexed("shape", i), data.shape(i), 1, kMaxFeatures, 64)) return false;
    elements = SaturatingMultiply(elements, data.shape(i));
  }
  if (elements > kMaxSampleElements) {
    checker.Add("shape", ViolationReason::kOutOfRange,
                absl::StrCat("makes samples of ", elements, " numbers; at most ", kMaxSampleElements,
                             " are allowed, such as [8, 8]"));
    right = false;
  }
  if (model.has_transformer_encoder() && data.shape_size() == 1) {
    checker.Add("shape", ViolationReason::kConflict,
                "has one entry, but transformer_encoder reads a sequence; give time and features, such as [8, 8]");
    right = false;
  }
  return right;
}

bool CheckIdx(const v1::Idx& data, Checker checker) {
  const bool images = checker.Path("images", data.images());
  const bool labels = checker.Path("labels", data.labels());
  bool right = images && labels;
  if (right && data.images() == data.labels()) {
    checker.Add("labels", ViolationReason::kConflict, "names the same file as images; name the file of the labels");
    right = false;
  }
  if (data.has_classes()) right &= checker.Whole("classes", data.classes(), 2, kMaxClasses, 10);
  right &= checker.Number("full_scale", data.full_scale(), {.min = 1e-30, .max = 1e30}, "255");
  return right;
}

bool CheckFiles(const google::protobuf::RepeatedPtrField<std::string>& files, std::string_view example,
                Checker checker) {
  if (files.empty()) {
    checker.Add("files", ViolationReason::kRequired,
                absl::StrCat("is missing; name at least one, such as [", std::string(example), "]"));
    return false;
  }
  if (files.size() > kMaxFiles) {
    checker.Add("files", ViolationReason::kOutOfRange,
                absl::StrCat("has ", files.size(), " entries; 1 to ", kMaxFiles, " are allowed: put several into one"));
    return false;
  }
  bool right = true;
  for (int i = 0; i < files.size(); ++i) right &= checker.Path(Indexed("files", i), files[i]);
  return right;
}

bool CheckTokens(const v1::Tokens& data, Checker checker) {
  const bool files = CheckFiles(data.files(), "data:train.bin", checker);
  return checker.Whole("vocabulary", data.vocabulary(), 2, kMaxVocabulary, kGpt2Vocabulary) && files;
}

bool SuitsModel(const v1::DataSource& source, const v1::Model& model, Checker& checker) {
  const bool language = ReadsTokens(model);
  if (language && source.has_idx()) {
    checker.Add("idx", ViolationReason::kConflict,
                "holds images, but this model reads tokens; use text, tokens or synthetic");
    return false;
  }
  if (model.kind_case() == v1::Model::KIND_NOT_SET || language) return true;
  for (const auto& [name, given] : {std::pair("text", source.has_text()), std::pair("tokens", source.has_tokens())}) {
    if (!given) continue;
    checker.Add(name, ViolationReason::kConflict,
                "holds tokens, but this model is a classifier; use idx or synthetic, model gpt, or sequential layers "
                "that begin with an embedding");
    return false;
  }
  return true;
}

bool CheckSource(const v1::DataSource& source, const v1::Model& model, Checker checker) {
  bool right = false;
  switch (source.kind_case()) {
    case v1::DataSource::kSynthetic:
      right = CheckSynthetic(source.synthetic(), model, checker.Beneath("synthetic"));
      break;
    case v1::DataSource::kIdx:
      right = CheckIdx(source.idx(), checker.Beneath("idx"));
      break;
    case v1::DataSource::kText:
      right = CheckFiles(source.text().files(), "data:licences", checker.Beneath("text"));
      break;
    case v1::DataSource::kTokens:
      right = CheckTokens(source.tokens(), checker.Beneath("tokens"));
      break;
    case v1::DataSource::KIND_NOT_SET:
      checker.Add("", ViolationReason::kRequired,
                  "is missing; name one of synthetic, idx, text and tokens, such as {synthetic: {samples: 4096}}");
      return false;
  }
  return SuitsModel(source, model, checker) && right;
}

bool SameShape(const v1::Synthetic& a, const v1::Synthetic& b) {
  return a.shape_size() == b.shape_size() && std::equal(a.shape().begin(), a.shape().end(), b.shape().begin());
}

// Held-out data of another kind or shape would not go through the model.
bool CheckEvalSuitsTrain(const v1::Data& data, Checker& checker) {
  const v1::DataSource& train = data.train();
  const v1::DataSource& eval = data.eval();
  if (train.kind_case() != eval.kind_case()) {
    checker.Add("eval", ViolationReason::kConflict, "is of another kind than train; give both the same kind");
    return false;
  }
  if (train.has_tokens() && train.tokens().vocabulary() != eval.tokens().vocabulary()) {
    checker.Add("eval.tokens.vocabulary", ViolationReason::kConflict,
                absl::StrCat("is ", eval.tokens().vocabulary(), ", but train has ", train.tokens().vocabulary(),
                             "; give both the same number"));
    return false;
  }
  if (!train.has_synthetic()) return true;
  bool right = true;
  if (!SameShape(train.synthetic(), eval.synthetic())) {
    checker.Add("eval.synthetic.shape", ViolationReason::kConflict, "differs from train's; give both the same shape");
    right = false;
  }
  if (train.synthetic().classes() != eval.synthetic().classes()) {
    checker.Add("eval.synthetic.classes", ViolationReason::kConflict,
                absl::StrCat("is ", eval.synthetic().classes(), ", but train has ", train.synthetic().classes(),
                             "; give both the same number"));
    right = false;
  }
  return right;
}

// The rows of the model's token embedding; 0 where they follow from the data, or there is none.
std::int32_t RowsOf(const v1::Model& model) {
  if (model.has_gpt()) return model.gpt().vocabulary();
  return ReadsTokens(model) ? model.sequential().layers(0).embedding().vocabulary() : 0;
}

}  // namespace

bool CheckData(const v1::Data& data, const v1::Model& model, Checker checker) {
  bool right = CheckSource(data.train(), model, checker.Beneath("train"));
  if (data.has_eval()) {
    const bool eval = CheckSource(data.eval(), model, checker.Beneath("eval"));
    right = right && eval && CheckEvalSuitsTrain(data, checker);
  }
  const std::int32_t rows = RowsOf(model);
  for (const auto& [name, source] : {std::pair("train", &data.train()), std::pair("eval", &data.eval())}) {
    const std::int32_t tokens = VocabularyOf(*source);
    if (rows == 0 || tokens <= rows) continue;
    checker.Add(name, ViolationReason::kConflict,
                absl::StrCat("has ", tokens, " different tokens, but the vocabulary of the model is ", rows,
                             "; remove training.model's vocabulary, or raise it"));
    right = false;
  }
  return right;
}

}  // namespace mantissa::spec
