#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include "proto/spec/defaults.h"
#include "proto/spec/study_report.h"
#include "proto/spec/study_training.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

using Kind = v1::StudySpec::KindCase;

constexpr std::int32_t kMaxIterations = 1'000'000;
constexpr int kMaxShapes = 100;
constexpr std::int32_t kMaxSide = 65'536;
constexpr int kMaxValues = 1000;
constexpr std::int32_t kMaxExponent = 24;

// A list of values of an enum, none twice. `noun`: what one of them is.
template <typename Enum>
void CheckChoices(std::string_view field, const google::protobuf::RepeatedField<int>& list, std::string_view noun,
                  Checker& checker) {
  const google::protobuf::EnumDescriptor& type = *google::protobuf::GetEnumDescriptor<Enum>();
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(type.value(i)->name());
  }
  if (list.size() > type.value_count()) {
    checker.Add(
        field, ViolationReason::kOutOfRange,
        absl::StrCat("has ", list.size(), " entries, and there are ", names.size(), ": ", absl::StrJoin(names, ", ")));
    return;
  }
  std::set<int> seen;
  for (int i = 0; i < list.size(); ++i) {
    const google::protobuf::EnumValueDescriptor* value = type.FindValueByNumber(list[i]);
    if (value == nullptr || list[i] == 0) {
      checker.Add(
          Indexed(field, i), ViolationReason::kUnknownValue,
          absl::StrCat("is no ", std::string(noun), " that this release has; use ", absl::StrJoin(names, ", ")));
    } else if (!seen.insert(list[i]).second) {
      checker.Add(Indexed(field, i), ViolationReason::kConflict,
                  absl::StrCat("is ", value->name(), " for a second time; remove it"));
    }
  }
}

void CheckPrecisions(const google::protobuf::RepeatedField<int>& list, Checker& checker) {
  CheckChoices<v1::PrecisionSpec::Mode>("precisions", list, "precision", checker);
}

void CheckShapes(const google::protobuf::RepeatedPtrField<v1::MatrixShape>& shapes, Checker& checker) {
  if (shapes.size() > kMaxShapes) {
    checker.Add("shapes", ViolationReason::kOutOfRange,
                absl::StrCat("has ", shapes.size(), " entries; at most ", kMaxShapes, " are allowed"));
    return;
  }
  std::set<std::tuple<int, int, int>> seen;
  for (int i = 0; i < shapes.size(); ++i) {
    const v1::MatrixShape& shape = shapes[i];
    Checker entry = checker.Beneath(Indexed("shapes", i));
    const bool m = entry.Whole("m", shape.m(), 1, kMaxSide, 128);
    const bool n = entry.Whole("n", shape.n(), 1, kMaxSide, 512);
    const bool k = entry.Whole("k", shape.k(), 1, kMaxSide, 512);
    if (m && n && k && !seen.emplace(shape.m(), shape.n(), shape.k()).second) {
      entry.Add("", ViolationReason::kConflict, "is there for a second time; remove it");
    }
  }
}

void CheckUnread(Kind study, const v1::TrainingSpec& training, Checker& checker) {
  for (const UnreadField& field : UnreadFields(study)) {
    if (!IsGiven(training, field.path)) continue;
    checker.Add(field.path, ViolationReason::kConflict,
                absl::StrCat("is not read in a study: ", std::string(field.remedy)));
  }
}

// Returns whether all of it is right. `training` has what the study reads resolved.
bool CheckStudyTraining(Kind study, bool given, const v1::TrainingSpec& training, Checker& checker) {
  const std::size_t before = checker.count();
  if (!given) {
    checker.Add(
        "training", ViolationReason::kRequired,
        "is missing; say what the study trains, such as training: {model: {mlp: {hidden: [128]}}, data: {train: "
        "{synthetic: {}}}}");
    return false;
  }
  Checker beneath = checker.Beneath("training");
  CheckUnread(study, training, beneath);
  CheckTraining(TrainingAsRun(study, training), beneath);
  return checker.count() == before;
}

void CheckComparison(const v1::PrecisionComparison& study, Checker checker) {
  const bool training = CheckStudyTraining(Kind::kPrecisionComparison, study.has_training(), study.training(), checker);
  CheckPrecisions(study.precisions(), checker);
  if (checker.Whole("seeds", study.seeds(), 1, 100, 3) &&
      study.training().seed() >
          std::numeric_limits<std::uint64_t>::max() - static_cast<std::uint64_t>(study.seeds() - 1)) {
    checker.Add("training.seed", ViolationReason::kOutOfRange,
                absl::StrCat("is ", study.training().seed(), ", and there are no ", study.seeds(),
                             " seeds from there on; lower it"));
  }
  const std::int32_t warm_up = study.warm_up_iterations();
  const std::int64_t length = KnownIterations(study.training());
  if (checker.Whole("warm_up_iterations", warm_up, 0, kMaxIterations, 5) && training && length > 0 &&
      warm_up >= length) {
    checker.Add("warm_up_iterations", ViolationReason::kConflict,
                absl::StrCat("is ", warm_up, ", but a run has ", length,
                             " iterations, and none would be timed; lower it, or raise training.iterations"));
  }
}

bool IsPowerOfTwo(double number) {
  int exponent = 0;
  return std::frexp(number, &exponent) == 0.5;
}

// Gradients are taken after so many iterations, so that the training's own length is that or says something else.
void CheckFormatTableLength(const v1::FormatTable& study, Checker& checker) {
  const v1::TrainingSpec& training = study.training();
  const bool epochs = training.length_case() == v1::TrainingSpec::kEpochs;
  if (!epochs && training.iterations() == study.iterations()) return;
  checker.Add(epochs ? "training.epochs" : "training.iterations", ViolationReason::kConflict,
              absl::StrCat("is not how long this study trains, which iterations beside it says (", study.iterations(),
                           "); remove it"));
}

void CheckFormatTable(const v1::FormatTable& study, Checker checker) {
  CheckChoices<v1::NumberFormat::Code>("formats", study.formats(), "format", checker);
  if (study.values_size() > kMaxValues) {
    checker.Add("values", ViolationReason::kOutOfRange,
                absl::StrCat("has ", study.values_size(), " entries; at most ", kMaxValues, " are allowed"));
  }
  const bool iterations = checker.Whole("iterations", study.iterations(), 0, 10'000, 10);
  if (study.has_loss_scale() &&
      checker.Number("loss_scale", study.loss_scale(), {.min = 0, .max = 0x1p24, .min_open = true}, "65536") &&
      !IsPowerOfTwo(study.loss_scale())) {
    checker.Add("loss_scale", ViolationReason::kOutOfRange,
                absl::StrCat("is ", study.loss_scale(), "; a power of two is allowed, such as 65536"));
  }
  if (iterations && study.iterations() == 0) {
    if (study.has_training()) {
      checker.Add("training", ViolationReason::kConflict,
                  "is given, but iterations is 0 and no gradients are taken; remove it, or raise iterations");
    }
    return;
  }
  if (iterations) CheckFormatTableLength(study, checker);
  CheckStudyTraining(Kind::kFormatTable, true, study.training(), checker);
}

void CheckGradientAnalysis(const v1::GradientAnalysis& study, Checker checker) {
  const bool training = CheckStudyTraining(Kind::kGradientAnalysis, study.has_training(), study.training(), checker);
  const std::int32_t every = study.every_iterations();
  const std::int64_t length = KnownIterations(study.training());
  if (checker.Whole("every_iterations", every, 1, kMaxIterations, 5) && training && length > 0 && every > length) {
    checker.Add("every_iterations", ViolationReason::kConflict,
                absl::StrCat("is ", every, ", but the run has ", length,
                             " iterations; lower it, or raise training.iterations"));
  }
  const bool min = checker.Whole("min_exponent", study.min_exponent(), 0, kMaxExponent, 0);
  const bool max = checker.Whole("max_exponent", study.max_exponent(), 0, kMaxExponent, kMaxExponent);
  if (min && max && study.min_exponent() >= study.max_exponent()) {
    checker.Add("min_exponent", ViolationReason::kConflict,
                absl::StrCat("is ", study.min_exponent(), ", not below max_exponent, which is ", study.max_exponent(),
                             "; lower it, or raise max_exponent"));
  }
}

// LayoutBenchmark or TensorCore.
template <typename Study>
void CheckProducts(const Study& study, Checker checker) {
  CheckShapes(study.shapes(), checker);
  CheckPrecisions(study.precisions(), checker);
  checker.Whole("rounds", study.rounds(), 3, 10'000, 30);
}

void CheckMemoryPlan(const v1::MemoryPlan& study, Checker checker) {
  CheckStudyTraining(Kind::kMemoryPlan, study.has_training(), study.training(), checker);
  CheckPrecisions(study.precisions(), checker);
  checker.Whole("device_memory_bytes", study.device_memory_bytes(), 0, kMaxMemoryBytes, std::int64_t{80} << 30);
}

void CheckScalerStudy(const v1::ScalerStudy& study, Checker checker) {
  CheckStudyTraining(Kind::kScalerStudy, study.has_training(), study.training(), checker);
  CheckChoices<v1::LossScaleSpec::Preset>("presets", study.presets(), "preset", checker);
}

std::string NamesOfStudies() {
  const google::protobuf::OneofDescriptor& kinds = *v1::StudySpec::descriptor()->FindOneofByName("kind");
  std::vector<std::string> names;
  for (int i = 0; i < kinds.field_count(); ++i) names.push_back(kinds.field(i)->name());
  return absl::StrJoin(names, ", ");
}

}  // namespace

void CheckStudy(const v1::StudySpec& study, Checker checker) {
  Checker kind = checker.Beneath(StudyName(study.kind_case()));
  switch (study.kind_case()) {
    case Kind::kPrecisionComparison:
      return CheckComparison(study.precision_comparison(), kind);
    case Kind::kFormatTable:
      return CheckFormatTable(study.format_table(), kind);
    case Kind::kGradientAnalysis:
      return CheckGradientAnalysis(study.gradient_analysis(), kind);
    case Kind::kLayoutBenchmark:
      return CheckProducts(study.layout_benchmark(), kind);
    case Kind::kTensorCore:
      return CheckProducts(study.tensor_core(), kind);
    case Kind::kMemoryPlan:
      return CheckMemoryPlan(study.memory_plan(), kind);
    case Kind::kFailureModes:
      return CheckChoices<v1::FailureModes::Mode>("modes", study.failure_modes().modes(), "mode", kind);
    case Kind::kScalerStudy:
      return CheckScalerStudy(study.scaler_study(), kind);
    case Kind::KIND_NOT_SET:
      checker.Add("", ViolationReason::kRequired,
                  absl::StrCat("names no study; name one of ", NamesOfStudies(), ", such as {format_table: {}}"));
      return;
  }
}

}  // namespace mantissa::spec
