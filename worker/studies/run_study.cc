// Any study, by its kind, and what every report says.
#include <chrono>
#include <cstdint>

#include <torch/headeronly/version.h>

#include "proto/spec/study_report.h"
#include "worker/studies/report/report_bound.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {
namespace {

absl::Status Dispatch(const v1::StudySpec& study, const StudyEnvironment& environment, StudyObserver& observer,
                      v1::Report& report) {
  switch (study.kind_case()) {
    case v1::StudySpec::kPrecisionComparison:
      return RunPrecisionComparison(study.precision_comparison(), environment, observer, report);
    case v1::StudySpec::kFormatTable:
      return RunFormatTable(study.format_table(), environment, observer, report);
    case v1::StudySpec::kGradientAnalysis:
      return RunGradientAnalysis(study.gradient_analysis(), environment, observer, report);
    case v1::StudySpec::kScalerStudy:
      return RunScalerStudy(study.scaler_study(), environment, observer, report);
    case v1::StudySpec::kLayoutBenchmark:
      return RunLayoutBenchmark(study.layout_benchmark(), environment, observer, report);
    case v1::StudySpec::kTensorCore:
      return RunTensorCore(study.tensor_core(), environment, observer, report);
    case v1::StudySpec::kMemoryPlan:
      return RunMemoryPlan(study.memory_plan(), environment, observer, report);
    case v1::StudySpec::kFailureModes:
      return RunFailureModes(study.failure_modes(), environment, observer, report);
    case v1::StudySpec::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("study: names no study; `mantissa explain` lists them");
}

}  // namespace

absl::Status RunStudy(const v1::StudySpec& study, const StudyEnvironment& environment, StudyObserver& observer,
                      v1::Report& report) {
  const process::SteadyTime began = environment.clock.Now();
  report.set_device(environment.device_name);
  report.set_torch_version(TORCH_VERSION);
  const absl::Status status = Dispatch(study, environment, observer, report);
  const std::int64_t nanos = std::chrono::nanoseconds(environment.clock.Now() - began).count();
  constexpr std::int64_t kPerSecond = 1'000'000'000;
  report.mutable_elapsed()->set_seconds(nanos / kPerSecond);
  report.mutable_elapsed()->set_nanos(static_cast<std::int32_t>(nanos % kPerSecond));
  KeepWithin(spec::kMaxReportBytes, report);
  return status;
}

}  // namespace mantissa::trainer
