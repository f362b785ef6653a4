// Memory by plan, and by trial where the device can say what it took.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/DeviceAccelerator.h>
#include <c10/util/Exception.h>

#include "worker/data/data_size.h"
#include "worker/data/load_data.h"
#include "worker/studies/machine/product.h"
#include "worker/studies/memory/memory_plan.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/run/trial_run.h"
#include "worker/studies/study.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/micro_batch.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kIterations = 3;
constexpr char kTraining[] = "study.memory_plan.training";
constexpr char kEstimated[] = "ESTIMATED";  // as a limit of the report explains

struct Trial {
  std::optional<std::int64_t> peak_bytes;
  std::string note;  // why there is none
  bool stopped = false;
};

// What the training takes beyond what was allocated before it. Twice, because what libraries allocate on first use and
// keep belongs to the process, not to the training.
Trial PeakOf(const v1::TrainingSpec& training, const Dataset& data, const StudyEnvironment& environment,
             Control& control) {
  Trial trial;
  try {
    for (int i = 0; i < 2; ++i) {
      ReleaseMemory(environment.device);
      const std::int64_t before = MemoryInUse(environment.device);
      ResetPeakMemory(environment.device);
      TrialRun run(training, data, environment);
      if (!run.TrainTo(kIterations, control) && control.stop_requested()) {
        trial.stopped = true;
        return trial;
      }
      trial.peak_bytes = PeakMemory(environment.device) - before;
    }
  } catch (const c10::OutOfMemoryError&) {
    trial.peak_bytes = std::nullopt;
    trial.note = "the device's memory was used up while this was measured; ESTIMATED";
  }
  ReleaseMemory(environment.device);
  return trial;
}

std::int64_t MemoryOf(const StudyEnvironment& environment) {
  if (!environment.device.is_cpu()) {
    return static_cast<std::int64_t>(at::accelerator::getMemoryInfo(environment.device.index()).second);
  }
  const std::int64_t limit = environment.memory_limit_bytes;
  return limit > 0 ? std::min(limit, TotalMemory()) : TotalMemory();
}

// The study on one training. Lives as long as it.
class MemoryStudy {
 public:
  MemoryStudy(const v1::MemoryPlan& plan, const StudyEnvironment& environment, StudyObserver& observer)
      : precisions_(PrecisionsOf(plan)),
        environment_(environment),
        observer_(observer),
        training_(plan.training()),
        memory_bytes_(plan.device_memory_bytes() > 0 ? plan.device_memory_bytes() : MemoryOf(environment)) {}

  absl::Status Run(v1::Report& report) {
    if (absl::Status read = Read(); !read.ok()) return read;
    const std::int32_t cases = static_cast<std::int32_t>(precisions_.size());
    observer_.Done(0, cases, "");
    v1::MemoryPlanReport& result = *report.mutable_memory_plan();
    v1::MemoryTotal full = PlanMemory(InPlanned(training_, {}), sample_).total;
    for (const PlannedPrecision& precision : precisions_) {
      if (observer_.stop_requested() || !Add(precision, result)) {
        report.set_partial(true);
        report.add_limits(absl::StrCat("The study was stopped after ", result.totals_size(), " of ", precisions_.size(),
                                       " precisions."));
        break;
      }
      const v1::MemoryTotal& total = *result.totals().rbegin();
      if (precision == PlannedPrecision{}) full = total;
      observer_.Done(
          result.totals_size(), cases,
          absl::StrCat(v1::PrecisionSpec::Mode_Name(precision.mode), ": ", BytesText(total.estimated_bytes())));
    }
    SetSavedShares(full, result);
    report.set_finding(MemoryFinding(result, memory_bytes_));
    report.add_limits(
        "Estimates leave out what the libraries take for themselves, and what a single op takes beside its results.");
    if (HasConvolutions()) {
      report.add_limits(
          "The workspace of convolutions is not estimated: the library chooses it on the device, and it may be half as "
          "much again as all the rest.");
    }
    if (environment_.device.is_cpu()) {
      report.add_limits("A CPU does not say what is allocated: activations, and the batches that fit, are estimated.");
    }
    return absl::OkStatus();
  }

 private:
  // The data, where the spec alone does not say what a sample looks like, or a trial needs it.
  absl::Status Read() {
    training_ = WithDefaults(training_);
    const std::optional<spec::SampleShape> known = spec::SampleShapeOf(training_);
    if (!known || !environment_.device.is_cpu()) {
      auto data = LoadTrainingData(training_, environment_.roots, AvailableMemory(environment_.memory_limit_bytes));
      if (!data.ok()) return Below(kTraining, DataError(data.status()));
      data_ = *std::move(data);
      data_.eval = nullptr;
      if (!environment_.device.is_cpu()) data_.train->MoveTo(environment_.device);
    }
    sample_ = known ? *known : data_.train->shape().sample;
    absl::Status fits = CheckAgainstData(training_, sample_);
    return fits.ok() ? fits : Below(kTraining, fits);
  }

  bool HasConvolutions() const {
    const std::vector<spec::Parameter> parameters = spec::ModelParameters(training_.model(), sample_);
    return std::any_of(parameters.begin(), parameters.end(), [](const spec::Parameter& parameter) {
      return parameter.module == spec::ModuleType::kConv1d || parameter.module == spec::ModuleType::kConv2d;
    });
  }

  // False when a stop was requested.
  bool Add(const PlannedPrecision& precision, v1::MemoryPlanReport& result) {
    const v1::TrainingSpec planned = InPlanned(training_, precision);
    PlannedMemory memory = PlanMemory(planned, sample_);
    if (!Measure(planned, memory.total)) return false;
    const std::int64_t micro_batch = MicroBatchOf(planned.batch_size(), planned.accumulation());
    memory.total.set_largest_batch(LargestBatch(memory.total, micro_batch, memory_bytes_));
    for (v1::MemoryRow& row : memory.groups) *result.add_groups() = std::move(row);
    *result.add_totals() = std::move(memory.total);
    return true;
  }

  bool Measure(const v1::TrainingSpec& planned, v1::MemoryTotal& total) {
    if (const auto why = WhyNoProduct(environment_, planned.precision().mode())) {
      AddNote(*why, *total.mutable_note());
    }
    if (environment_.device.is_cpu()) {
      AddNote(kEstimated, *total.mutable_note());
      return true;
    }
    if (!total.note().empty()) {
      AddNote(kEstimated, *total.mutable_note());
      return true;
    }
    Trial trial = PeakOf(planned, *data_.train, environment_, observer_);
    if (trial.stopped) return false;
    if (trial.peak_bytes) total.set_measured_bytes(*trial.peak_bytes);
    AddNote(trial.note, *total.mutable_note());
    return true;
  }

  const std::vector<PlannedPrecision> precisions_;
  const StudyEnvironment& environment_;
  StudyObserver& observer_;
  v1::TrainingSpec training_;
  const std::int64_t memory_bytes_;
  TrainingData data_;
  spec::SampleShape sample_;
};

}  // namespace

absl::Status RunMemoryPlan(const v1::MemoryPlan& plan, const StudyEnvironment& environment, StudyObserver& observer,
                           v1::Report& report) {
  return MemoryStudy(plan, environment, observer).Run(report);
}

}  // namespace mantissa::trainer
