#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "proto/spec/model_shape.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr std::int32_t kMaxClasses = 1'048'576;
constexpr std::int32_t kMaxFeatures = 1'048'576;
constexpr std::int64_t kMaxSampleElements = std::int64_t{1} << 30;
constexpr int kMaxTextFiles = 1024;

bool CheckSynthetic(const v1::Synthetic& data, const v1::Model& model, Checker checker) {
  bool right = checker.Whole("samples", data.samples(), 1, std::numeric_limits<std::int32_t>::max(), 4096);
  right &= checker.Whole("classes", data.classes(), 2, kMaxClasses, 10);
  if (model.has_gpt()) {
    if (data.shape_size() > 0) {
      checker.Add("shape", ViolationReason::kConflict, "is given, but gpt reads tokens; remove it and set classes");
      return false;
    }
    return right;
  }
  if (data.shape_size() > 2) {
    checker.Add("shape", ViolationReason::kOutOfRange,
                absl::StrCat("has ", data.shape_size(), " entries; one (F) or two (T, F) are allowed, such as [64]"));
    return false;
  }
  std::int64_t elements = 1;
  for (int i = 0; i < data.shape_size(); ++i) {
    if (!checker.Whole(Indexed("shape", i), data.shape(i), 1, kMaxFeatures, 64)) return false;
    elements *= data.shape(i);  // at most 2^40
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

bool CheckText(const v1::Text& data, Checker checker) {
  if (data.files_size() == 0) {
    checker.Add("files", ViolationReason::kRequired, "is missing; name files or folders, such as [data:licences]");
    return false;
  }
  if (data.files_size() > kMaxTextFiles) {
    checker.Add("files", ViolationReason::kOutOfRange,
                absl::StrCat("has ", data.files_size(), " entries; 1 to ", kMaxTextFiles,
                             " are allowed: name a folder, whose files are taken in name order"));
    return false;
  }
  bool right = true;
  for (int i = 0; i < data.files_size(); ++i) right &= checker.Path(Indexed("files", i), data.files(i));
  return right;
}

// The vocabulary of a source of tokens, 0 for one that has none.
std::int32_t VocabularyOf(const v1::DataSource& source) {
  if (source.has_text()) return kTextVocabulary;
  return source.has_synthetic() ? source.synthetic().classes() : 0;
}

bool SuitsModel(const v1::DataSource& source, const v1::Model& model, Checker& checker) {
  if (model.has_gpt() && source.has_idx()) {
    checker.Add("idx", ViolationReason::kConflict, "holds images, but gpt reads tokens; use text or synthetic");
    return false;
  }
  const bool classifier = model.has_mlp() || model.has_transformer_encoder();
  if (classifier && source.has_text()) {
    checker.Add("text", ViolationReason::kConflict,
                "holds tokens, but this model is a classifier; use idx or synthetic, or model gpt");
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
      right = CheckText(source.text(), checker.Beneath("text"));
      break;
    case v1::DataSource::KIND_NOT_SET:
      checker.Add("", ViolationReason::kRequired,
                  "is missing; name one of synthetic, idx and text, such as {synthetic: {samples: 4096}}");
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

}  // namespace

bool CheckData(const v1::Data& data, const v1::Model& model, Checker checker) {
  bool right = CheckSource(data.train(), model, checker.Beneath("train"));
  if (data.has_eval()) {
    const bool eval = CheckSource(data.eval(), model, checker.Beneath("eval"));
    right = right && eval && CheckEvalSuitsTrain(data, checker);
  }
  if (model.has_gpt() && model.gpt().has_vocabulary()) {
    for (const auto& [name, source] : {std::pair<const char*, const v1::DataSource*>("train", &data.train()),
                                       std::pair<const char*, const v1::DataSource*>("eval", &data.eval())}) {
      const std::int32_t tokens = VocabularyOf(*source);
      if (tokens <= model.gpt().vocabulary()) continue;
      checker.Add(name, ViolationReason::kConflict,
                  absl::StrCat("has ", tokens, " different tokens, but training.model.gpt.vocabulary is ",
                               model.gpt().vocabulary(), "; remove vocabulary, or raise it"));
      right = false;
    }
  }
  return right;
}

}  // namespace mantissa::spec
