#include "worker/studies/run/study_training.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "proto/spec/defaults.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/execution_plan.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/micro_batch.h"

namespace mantissa::trainer {
namespace {

constexpr char kField[] = "training";

absl::Status FitMemory(const StudyEnvironment& environment, StudyTraining& training) {
  const std::int64_t free_bytes = FreeMemory(environment.device, environment.memory_limit_bytes);
  const v1::TrainingSpec full = InPrecision(training.spec, v1::PrecisionSpec::FP32);
  if (training.spec.micro_batch() != v1::MicroBatch::AUTO) {
    return CheckMemory(full, training.sample(), free_bytes, environment.device_name);
  }
  auto chosen = ChooseMicroBatch(full, training.sample(), free_bytes, environment.device_name, nullptr);
  if (chosen.ok()) training.spec.set_accumulation(chosen->accumulation());
  return chosen.status();
}

absl::Status Prepare(const StudyEnvironment& environment, StudyTraining& training) {
  const v1::TrainingSpec& spec = training.spec;
  if (spec.has_init_from()) {
    return Because(v1::Reason::BAD_SPEC,
                   absl::InvalidArgumentError("training.init_from: is given, but the runs of a study begin from what "
                                              "their seed gives; remove it"));
  }
  auto data = LoadTrainingData(spec, environment.roots, AvailableMemory(environment.memory_limit_bytes));
  if (!data.ok()) return DataError(data.status());
  training.data = *std::move(data);
  // In FP16, which allows most of overrides: not every mode of a study may have one that covers something.
  const v1::TrainingSpec low = InPrecision(spec, v1::PrecisionSpec::FP16);
  if (absl::Status good = CheckAgainstData(low, training.sample()); !good.ok()) return good;
  auto total = TotalIterations(spec, spec::IterationsPerEpoch(training.data.train->size(), spec.batch_size()));
  if (!total.ok()) return total.status();
  training.iterations = *total;
  training.data.train->MoveTo(environment.device);
  if (training.data.eval) training.data.eval->MoveTo(environment.device);
  if (absl::Status fits = FitMemory(environment, training); !fits.ok()) {
    return Because(v1::Reason::OUT_OF_DEVICE_MEMORY, fits);
  }
  const std::int64_t micro_batch = MicroBatchOf(spec.batch_size(), spec.accumulation());
  training.threads = environment.asked_threads > 0
                         ? environment.asked_threads
                         : ThreadsFor(EstimateOperations(spec, training.sample(), micro_batch), environment.threads);
  return absl::OkStatus();
}

bool IsFull(v1::PrecisionSpec::Mode mode) { return mode == v1::PrecisionSpec::FP32 || mode == v1::PrecisionSpec::TF32; }

}  // namespace

absl::Status Below(std::string_view path, const absl::Status& status) {
  const std::string message(status.message());
  if (!absl::StartsWith(message, kField)) return status;
  absl::Status named(status.code(), absl::StrCat(std::string(path), message.substr(sizeof(kField) - 1)));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { named.SetPayload(url, payload); });
  return named;
}

absl::StatusOr<StudyTraining> PrepareTraining(const v1::TrainingSpec& spec, std::string_view path,
                                              const StudyEnvironment& environment) {
  StudyTraining training;
  training.spec = spec;
  if (absl::Status prepared = Prepare(environment, training); !prepared.ok()) return Below(path, prepared);
  return training;
}

v1::TrainingSpec WithDefaults(const v1::TrainingSpec& training) {
  v1::JobSpec job;
  *job.mutable_training() = training;
  return spec::ResolveDefaults(job).training();
}

v1::TrainingSpec InPrecision(const v1::TrainingSpec& spec, v1::PrecisionSpec::Mode mode) {
  v1::TrainingSpec changed = spec;
  v1::PrecisionSpec& precision = *changed.mutable_precision();
  precision.set_mode(mode);
  precision.clear_fallback();
  if (mode == v1::PrecisionSpec::FP32) precision.clear_overrides();
  if (!IsFull(mode)) return changed;
  precision.set_storage(v1::PrecisionSpec::FP32_PARAMETERS);
  for (v1::PrecisionOverride& override : *precision.mutable_overrides()) override.clear_storage();
  return changed;
}

std::string WhyUnsupported(const v1::TrainingSpec& spec, v1::PrecisionSpec::Mode mode,
                           const StudyEnvironment& environment) {
  const v1::PrecisionSpec precision = InPrecision(spec, mode).precision();
  const PrecisionModes lacking = LackingModes(precision, environment.precisions);
  if (lacking.empty() || precision.emulate()) return "";
  return absl::StrCat(environment.device_name, " has no arithmetic for ", v1::PrecisionSpec::Mode_Name(lacking.front()),
                      "; use a device that has it, or precision.emulate: true");
}

}  // namespace mantissa::trainer
