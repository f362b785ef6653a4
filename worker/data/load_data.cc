#include "worker/data/load_data.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "worker/data/idx_data.h"
#include "worker/data/synthetic_data.h"
#include "worker/data/text_data.h"
#include "worker/data/token_files.h"

namespace mantissa::trainer {
namespace {

struct Source {
  const v1::DataSource& spec;
  std::string field;
  const v1::Model& model;
  std::optional<std::int64_t> classes;  // of the training data, once known
};

absl::StatusOr<std::unique_ptr<Dataset>> Load(const Source& source, const process::Roots& roots,
                                              std::int64_t max_bytes) {
  const bool language = spec::ReadsTokens(source.model);
  const std::int64_t context = spec::ContextOf(source.model);
  switch (source.spec.kind_case()) {
    case v1::DataSource::kSynthetic: {
      const std::string field = source.field + ".synthetic";
      return language ? MakeSyntheticTokens(source.spec.synthetic(), context, field, max_bytes)
                      : MakeSyntheticFeatures(source.spec.synthetic(), field, max_bytes);
    }
    case v1::DataSource::kIdx:
      return LoadIdx(source.spec.idx(), source.classes, roots, source.field + ".idx", max_bytes);
    case v1::DataSource::kText:
      return LoadText(source.spec.text(), context, roots, source.field + ".text", max_bytes);
    case v1::DataSource::kTokens:
      return LoadTokens(source.spec.tokens(), context, roots, source.field + ".tokens", max_bytes);
    case v1::DataSource::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(source.field, ": names no data; set one of synthetic, idx, text, tokens"));
}

std::string Text(const DataShape& shape) {
  if (shape.context > 0) return absl::StrCat("tokens below ", shape.sample.classes);
  return absl::StrCat("samples of ", absl::StrJoin(shape.sample.features, " x "), " in ", shape.sample.classes,
                      " classes");
}

// A model has one shape; what it is evaluated on must have it too.
absl::Status CheckSameShape(const DataShape& train, const DataShape& eval) {
  if (train.sample.features == eval.sample.features && train.sample.classes == eval.sample.classes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("training.data.eval: has ", Text(eval),
                                                 ", but training.data.train has ", Text(train),
                                                 "; give both the same shape"));
}

}  // namespace

absl::StatusOr<TrainingData> LoadTrainingData(const v1::TrainingSpec& training, const process::Roots& roots,
                                              std::int64_t max_bytes) {
  TrainingData data;
  auto train = Load({training.data().train(), "training.data.train", training.model(), std::nullopt}, roots, max_bytes);
  if (!train.ok()) return train.status();
  data.train = *std::move(train);
  if (training.data().has_eval()) {
    auto eval =
        Load({training.data().eval(), "training.data.eval", training.model(), data.train->shape().sample.classes},
             roots, max_bytes);
    if (!eval.ok()) return eval.status();
    data.eval = *std::move(eval);
    if (absl::Status same = CheckSameShape(data.train->shape(), data.eval->shape()); !same.ok()) return same;
  }
  return data;
}

}  // namespace mantissa::trainer
