#include "proto/spec/study_defaults.h"

#include <algorithm>
#include <cstdint>

#include <google/protobuf/generated_enum_reflection.h>

#include "proto/spec/defaults.h"
#include "proto/spec/study_training.h"

namespace mantissa::spec {
namespace {

using Kind = v1::StudySpec::KindCase;

#define DEFAULT(message, field, value) \
  if (!(message).has_##field()) (message).set_##field(value)

constexpr std::int32_t kIterations = 5;  // of a warm-up, and between samples
constexpr std::int32_t kRounds = 30;

// Each is exact in some format, and rounded, subnormal, zero or beyond the largest number in another.
constexpr double kValues[] = {1e-10, 1e-7, 3e-5, 1e-3, 0.1, 1.001, 500, 65504, 1e5, 1e10};

// `most`, or less where the run is known to be no longer than that.
std::int32_t AtMost(std::int32_t most, std::int64_t limit) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(limit, 0, most));
}

// Every value but the unspecified one.
template <typename Enum, typename List>
void DefaultToAll(List& list) {
  if (!list.empty()) return;
  const google::protobuf::EnumDescriptor& type = *google::protobuf::GetEnumDescriptor<Enum>();
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) list.Add(type.value(i)->number());
  }
}

void ResolveComparison(v1::PrecisionComparison& study) {
  if (study.has_training()) ResolveStudyTraining(Kind::kPrecisionComparison, *study.mutable_training());
  DEFAULT(study, seeds, 3);
  const std::int64_t length = KnownIterations(study.training());
  DEFAULT(study, warm_up_iterations, length > 0 ? AtMost(kIterations, length - 1) : kIterations);
}

void DefaultTraining(v1::TrainingSpec& training) {
  v1::TransformerEncoder& model = *training.mutable_model()->mutable_transformer_encoder();
  model.set_layers(2);
  model.set_d_model(64);
  training.mutable_data()->mutable_train()->mutable_synthetic();
  training.set_batch_size(32);
}

void ResolveFormatTable(v1::FormatTable& study) {
  DefaultToAll<v1::NumberFormat::Code>(*study.mutable_formats());
  if (study.values_size() == 0) study.mutable_values()->Add(std::begin(kValues), std::end(kValues));
  DEFAULT(study, iterations, 10);
  // Without gradients neither a model nor a scale is read.
  if (study.iterations() == 0) return;
  DEFAULT(study, loss_scale, 0x1p16);
  v1::TrainingSpec& training = *study.mutable_training();
  if (training.ByteSizeLong() == 0) DefaultTraining(training);
  if (training.length_case() == v1::TrainingSpec::LENGTH_NOT_SET && study.iterations() > 0) {
    training.set_iterations(study.iterations());
  }
  ResolveStudyTraining(Kind::kFormatTable, training);
}

void ResolveGradientAnalysis(v1::GradientAnalysis& study) {
  if (study.has_training()) ResolveStudyTraining(Kind::kGradientAnalysis, *study.mutable_training());
  const std::int64_t length = KnownIterations(study.training());
  DEFAULT(study, every_iterations, length > 0 ? AtMost(kIterations, length) : kIterations);
  DEFAULT(study, min_exponent, 0);
  DEFAULT(study, max_exponent, 24);
  DEFAULT(study, check, true);
}

void ResolveLayoutBenchmark(v1::LayoutBenchmark& study) {
  if (study.precisions_size() == 0) {
    for (const auto mode : {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16}) {
      study.add_precisions(mode);
    }
  }
  DEFAULT(study, rounds, kRounds);
}

void ResolveMemoryPlan(v1::MemoryPlan& study) {
  if (study.has_training()) ResolveStudyTraining(Kind::kMemoryPlan, *study.mutable_training());
}

void ResolveScalerStudy(v1::ScalerStudy& study) {
  if (study.has_training()) ResolveStudyTraining(Kind::kScalerStudy, *study.mutable_training());
  DefaultToAll<v1::LossScaleSpec::Preset>(*study.mutable_presets());
}

}  // namespace

void ResolveStudy(v1::StudySpec& study) {
  switch (study.kind_case()) {
    case Kind::kPrecisionComparison:
      return ResolveComparison(*study.mutable_precision_comparison());
    case Kind::kFormatTable:
      return ResolveFormatTable(*study.mutable_format_table());
    case Kind::kGradientAnalysis:
      return ResolveGradientAnalysis(*study.mutable_gradient_analysis());
    case Kind::kLayoutBenchmark:
      return ResolveLayoutBenchmark(*study.mutable_layout_benchmark());
    case Kind::kTensorCore:
      DEFAULT(*study.mutable_tensor_core(), rounds, kRounds);
      return;
    case Kind::kMemoryPlan:
      return ResolveMemoryPlan(*study.mutable_memory_plan());
    case Kind::kFailureModes:
      return DefaultToAll<v1::FailureModes::Mode>(*study.mutable_failure_modes()->mutable_modes());
    case Kind::kScalerStudy:
      return ResolveScalerStudy(*study.mutable_scaler_study());
    case Kind::KIND_NOT_SET:
      return;
  }
}

#undef DEFAULT

}  // namespace mantissa::spec
