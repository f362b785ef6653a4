#include "proto/spec/features.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"

#include "proto/spec/lineage.h"
#include "proto/spec/study_report.h"
#include "proto/spec/study_training.h"

namespace mantissa::spec {
namespace {

void AddModel(const v1::Model& model, std::set<std::string>& features) {
  if (model.has_mlp()) features.insert("model.mlp");
  if (model.has_transformer_encoder()) features.insert("model.transformer_encoder");
  if (model.has_gpt()) features.insert("model.gpt");
  if (model.has_convnet()) features.insert("model.convnet");
  // With every kind of layer there is; one that comes later is a feature of its own.
  if (model.has_sequential()) features.insert("model.sequential");
  if (model.has_pathological()) features.insert("model.pathological");
}

void AddSource(const v1::DataSource& source, std::set<std::string>& features) {
  if (source.has_synthetic()) features.insert("data.synthetic");
  if (source.has_idx()) features.insert("data.idx");
  if (source.has_text()) features.insert("data.text");
  if (source.has_tokens()) features.insert("data.tokens");
}

void AddMode(v1::PrecisionSpec::Mode mode, std::set<std::string>& features) {
  using Spec = v1::PrecisionSpec;
  if (mode == Spec::FP32) features.insert("precision.fp32");
  if (mode == Spec::TF32) features.insert("precision.tf32");
  if (mode == Spec::FP16) features.insert("precision.fp16");
  if (mode == Spec::BF16) features.insert("precision.bf16");
}

// What a study reads, too.
void AddFormats(const v1::PrecisionSpec& precision, std::set<std::string>& features) {
  AddMode(precision.mode(), features);
  if (precision.storage() == v1::PrecisionSpec::MASTER_FP32) features.insert("precision.storage.master_fp32");
  if (precision.overrides_size() > 0) features.insert("precision.overrides");
  for (const v1::PrecisionOverride& override : precision.overrides()) AddMode(override.compute(), features);
  if (precision.emulate()) features.insert("precision.emulate");
}

void AddPrecision(const v1::PrecisionSpec& precision, std::set<std::string>& features) {
  using Spec = v1::PrecisionSpec;
  AddFormats(precision, features);
  if (MayFallBack(precision)) {
    for (const int mode : precision.fallback()) AddMode(static_cast<Spec::Mode>(mode), features);
  }
  if (precision.on_failure() == Spec::CLAMP) features.insert("precision.on_failure.clamp");
  if (precision.on_failure() == Spec::FAIL) features.insert("precision.on_failure.fail");
  if (precision.on_failure() == Spec::ROLLBACK) features.insert("precision.on_failure.rollback");
  if (precision.on_failure() == Spec::FALLBACK) features.insert("precision.on_failure.fallback");
  if (precision.loss_spike().action() == v1::LossSpikeGuard::ROLLBACK) features.insert("precision.loss_spike.rollback");
}

// But for its precision.
void AddRun(const v1::TrainingSpec& training, std::set<std::string>& features) {
  AddModel(training.model(), features);
  AddSource(training.data().train(), features);
  AddSource(training.data().eval(), features);
  if (training.checkpoint().bundle() == v1::CheckpointSpec::FIRST_SKIP) features.insert("checkpoint.bundle.first_skip");
  if (training.optimizer().has_adamw()) features.insert("optimizer.adamw");
  if (training.optimizer().has_adam()) features.insert("optimizer.adam");
  if (training.optimizer().has_sgd()) features.insert("optimizer.sgd");
  if (training.schedule().has_constant()) features.insert("schedule.constant");
  if (training.schedule().has_cosine()) features.insert("schedule.cosine");
  if (training.schedule().has_linear()) features.insert("schedule.linear");
  if (training.execution().mode() == v1::ExecutionSpec::GRAPH) features.insert("execution.graph");
  if (training.execution().deterministic()) features.insert("execution.deterministic");
  if (training.parameter_groups_size() > 0) features.insert("training.parameter_groups");
  if (training.has_init_from()) features.insert("training.init_from");
  if (training.micro_batch() == v1::MicroBatch::AUTO) features.insert("training.micro_batch");
}

void AddTraining(const v1::TrainingSpec& training, std::set<std::string>& features) {
  features.insert("workload.training");
  AddRun(training, features);
  AddPrecision(training.precision(), features);
}

// Which precisions it compares is no feature: a row says of one that is not there that it is not.
void AddStudy(const v1::StudySpec& study, std::set<std::string>& features) {
  features.insert("workload.study");
  if (study.kind_case() == v1::StudySpec::KIND_NOT_SET) return;
  features.insert(absl::StrCat("study.", std::string(StudyName(study.kind_case()))));
  if (const v1::TrainingSpec* training = TrainingOf(study)) {
    AddRun(*training, features);
    AddFormats(training->precision(), features);
  }
}

}  // namespace

std::vector<std::string> RequiredFeatures(const v1::JobSpec& spec) {
  std::set<std::string> features;
  if (spec.has_training()) AddTraining(spec.training(), features);
  if (spec.has_study()) AddStudy(spec.study(), features);
  if (spec.resources().gpus() > 1) features.insert("resources.gpus");
  return {features.begin(), features.end()};
}

const std::vector<std::string>& BuiltFeatures() {
  static const auto& features = *new std::vector<std::string>{
      "checkpoint.bundle.first_skip",
      "data.idx",
      "data.synthetic",
      "data.text",
      "data.tokens",
      "execution.deterministic",
      "execution.graph",
      "model.convnet",
      "model.gpt",
      "model.mlp",
      "model.pathological",
      "model.sequential",
      "model.transformer_encoder",
      "optimizer.adam",
      "optimizer.adamw",
      "optimizer.sgd",
      "precision.bf16",
      "precision.emulate",
      "precision.fp16",
      "precision.fp32",
      "precision.loss_spike.rollback",
      "precision.on_failure.clamp",
      "precision.on_failure.fail",
      "precision.on_failure.fallback",
      "precision.on_failure.rollback",
      "precision.overrides",
      "precision.storage.master_fp32",
      "precision.tf32",
      "schedule.constant",
      "schedule.cosine",
      "schedule.linear",
      "study.failure_modes",
      "study.format_table",
      "study.gradient_analysis",
      "study.layout_benchmark",
      "study.memory_plan",
      "study.precision_comparison",
      "study.scaler_study",
      "study.tensor_core",
      "training.init_from",
      "training.micro_batch",
      "training.parameter_groups",
      "workload.study",
      "workload.training",
  };
  return features;
}

std::vector<std::string> MissingFeatures(const std::vector<std::string>& required,
                                         const std::vector<std::string>& announced) {
  const std::set<std::string> there(announced.begin(), announced.end());
  std::vector<std::string> missing;
  std::copy_if(required.begin(), required.end(), std::back_inserter(missing),
               [&](const std::string& feature) { return !there.contains(feature); });
  return missing;
}

}  // namespace mantissa::spec
