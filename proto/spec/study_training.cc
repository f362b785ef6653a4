#include "proto/spec/study_training.h"

#include <utility>

#include "absl/strings/str_split.h"
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "proto/spec/defaults.h"

namespace mantissa::spec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Kind = v1::StudySpec::KindCase;

std::vector<std::string> PartsOf(std::string_view path) { return absl::StrSplit(std::string(path), '.'); }

bool Has(const Message& message, const FieldDescriptor* field) {
  const Reflection& reflection = *message.GetReflection();
  if (field->is_repeated()) return reflection.FieldSize(message, field) > 0;
  if (!reflection.HasField(message, field)) return false;
  // An empty section says nothing.
  return field->message_type() == nullptr || reflection.GetMessage(message, field).ByteSizeLong() > 0;
}

// The message that the path's last field belongs to; null where a section before it is not there.
const Message* Owner(const Message& root, const std::vector<std::string>& parts) {
  const Message* at = &root;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    const FieldDescriptor* field = at->GetDescriptor()->FindFieldByName(parts[i]);
    if (!at->GetReflection()->HasField(*at, field)) return nullptr;
    at = &at->GetReflection()->GetMessage(*at, field);
  }
  return at;
}

Message* MutableOwner(Message& root, const std::vector<std::string>& parts) {
  Message* at = &root;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    const FieldDescriptor* field = at->GetDescriptor()->FindFieldByName(parts[i]);
    if (!at->GetReflection()->HasField(*at, field)) return nullptr;
    at = at->GetReflection()->MutableMessage(at, field);
  }
  return at;
}

// `to`'s field becomes what `from` has there.
void TakeField(v1::TrainingSpec& from, v1::TrainingSpec& to, std::string_view path) {
  const std::vector<std::string> parts = PartsOf(path);
  Message* const target = MutableOwner(to, parts);
  if (target == nullptr) return;
  const FieldDescriptor* field = target->GetDescriptor()->FindFieldByName(parts.back());
  target->GetReflection()->ClearField(target, field);
  Message* const source = MutableOwner(from, parts);
  if (source != nullptr) target->GetReflection()->SwapFields(target, source, {field});
}

void AddCommon(std::vector<UnreadField>& fields) {
  fields.push_back({"init_from", "every run of a study begins from the weights that its seed gives; remove it"});
  fields.push_back({"checkpoint", "a study keeps no checkpoints; remove it"});
  fields.push_back({"telemetry", "a study counts its cases, and its numbers are in its report; remove it"});
  fields.push_back({"micro_batch", "all runs of a study are cut alike; give accumulation instead"});
  fields.push_back({"execution.mode", "a study runs every step eagerly, so that its precisions are alike; remove it"});
  fields.push_back({"evaluation.every_steps", "a study evaluates at the end of a run only; remove it"});
}

// What is done about a precision that fails: a study says that it has failed.
void AddFailurePolicy(std::vector<UnreadField>& fields) {
  for (const char* path : {"precision.on_failure", "precision.fallback", "precision.max_rollbacks",
                           "precision.loss_spike", "precision.statistics_window"}) {
    fields.push_back({path, "a precision that fails is a row of the report, and nothing is done about it; remove it"});
  }
}

}  // namespace

const v1::TrainingSpec* TrainingOf(const v1::StudySpec& study) {
  const Reflection& reflection = *study.GetReflection();
  const FieldDescriptor* kind = v1::StudySpec::descriptor()->FindFieldByNumber(study.kind_case());
  if (kind == nullptr) return nullptr;
  const Message& of_kind = reflection.GetMessage(study, kind);
  const FieldDescriptor* training = of_kind.GetDescriptor()->FindFieldByName("training");
  if (training == nullptr || !of_kind.GetReflection()->HasField(of_kind, training)) return nullptr;
  return static_cast<const v1::TrainingSpec*>(&of_kind.GetReflection()->GetMessage(of_kind, training));
}

std::vector<UnreadField> UnreadFields(Kind study) {
  std::vector<UnreadField> fields;
  AddCommon(fields);
  switch (study) {
    case Kind::kPrecisionComparison:
      fields.push_back({"precision.mode", "the study runs every precision; name those it compares in precisions"});
      AddFailurePolicy(fields);
      break;
    case Kind::kMemoryPlan:
      fields.push_back({"precision.mode", "the study plans for every precision; name those it compares in precisions"});
      fields.push_back({"precision.loss_scale", "it takes no memory worth planning; remove it"});
      AddFailurePolicy(fields);
      break;
    case Kind::kScalerStudy:
      fields.push_back({"precision.mode", "loss scaling is FP16's; remove it"});
      fields.push_back({"precision.loss_scale", "the study runs whole presets; name them in presets"});
      AddFailurePolicy(fields);
      break;
    case Kind::kFormatTable:
    case Kind::kGradientAnalysis:
      fields.push_back({"precision", "the study takes its gradients in FP32; remove it"});
      break;
    default:
      break;
  }
  return fields;
}

bool IsGiven(const v1::TrainingSpec& training, std::string_view path) {
  const std::vector<std::string> parts = PartsOf(path);
  const Message* owner = Owner(training, parts);
  return owner != nullptr && Has(*owner, owner->GetDescriptor()->FindFieldByName(parts.back()));
}

void ClearField(v1::TrainingSpec& training, std::string_view path) {
  v1::TrainingSpec nothing;
  TakeField(nothing, training, path);
}

void ResolveStudyTraining(Kind study, v1::TrainingSpec& training) {
  v1::TrainingSpec given = std::exchange(training, TrainingAsRun(study, training));
  for (const UnreadField& field : UnreadFields(study)) TakeField(given, training, field.path);
  // Which storage is planned for is the study's to say where the spec does not.
  if (study == Kind::kMemoryPlan && given.precision().storage() == v1::PrecisionSpec::STORAGE_UNSPECIFIED) {
    training.mutable_precision()->clear_storage();
  }
}

v1::TrainingSpec TrainingAsRun(Kind study, const v1::TrainingSpec& training) {
  v1::TrainingSpec run = training;
  for (const UnreadField& field : UnreadFields(study)) ClearField(run, field.path);
  const bool in_fp32 = study == Kind::kFormatTable || study == Kind::kGradientAnalysis;
  run.mutable_precision()->set_mode(in_fp32 ? v1::PrecisionSpec::FP32 : v1::PrecisionSpec::FP16);
  ResolveTraining(run);
  return run;
}

}  // namespace mantissa::spec
