#include "client/cli/advise/study_findings.h"

#include "absl/strings/str_cat.h"

#include "proto/spec/study_report.h"

namespace mantissa::cli {
namespace {

using Kind = v1::StudySpec::KindCase;

}  // namespace

const v1::Report* StudyFindings::ReportOf(Kind study) const {
  for (const StudyOutcome& outcome : outcomes_) {
    if (outcome.study == study && outcome.report && spec::StudyOf(*outcome.report) == study) return &*outcome.report;
  }
  return nullptr;
}

const v1::PrecisionComparisonReport* StudyFindings::comparison() const {
  const v1::Report* report = ReportOf(Kind::kPrecisionComparison);
  return report == nullptr ? nullptr : &report->precision_comparison();
}

const v1::GradientAnalysisReport* StudyFindings::gradients() const {
  const v1::Report* report = ReportOf(Kind::kGradientAnalysis);
  return report == nullptr ? nullptr : &report->gradient_analysis();
}

const v1::ScalerStudyReport* StudyFindings::scalers() const {
  const v1::Report* report = ReportOf(Kind::kScalerStudy);
  return report == nullptr ? nullptr : &report->scaler_study();
}

const v1::MemoryPlanReport* StudyFindings::memory() const {
  const v1::Report* report = ReportOf(Kind::kMemoryPlan);
  return report == nullptr ? nullptr : &report->memory_plan();
}

const v1::TensorCoreReport* StudyFindings::products() const {
  const v1::Report* report = ReportOf(Kind::kTensorCore);
  return report == nullptr ? nullptr : &report->tensor_core();
}

const v1::FailureModesReport* StudyFindings::failures() const {
  const v1::Report* report = ReportOf(Kind::kFailureModes);
  return report == nullptr ? nullptr : &report->failure_modes();
}

bool StudyFindings::WasPlanned(Kind study) const {
  for (const StudyOutcome& outcome : outcomes_) {
    if (outcome.study == study) return true;
  }
  return false;
}

std::string StudyFindings::WhyNone(Kind study) const {
  const std::string name(spec::StudyName(study));
  for (const StudyOutcome& outcome : outcomes_) {
    if (outcome.study == study) return absl::StrCat(name, " has no report: ", outcome.failure);
  }
  return absl::StrCat(name, " was not run");
}

std::string StudyFindings::device() const {
  for (const StudyOutcome& outcome : outcomes_) {
    if (outcome.report && !outcome.report->device().empty()) return outcome.report->device();
  }
  return "";
}

const v1::PrecisionRow* StudyFindings::RowOf(v1::PrecisionSpec::Mode mode) const {
  if (comparison() == nullptr) return nullptr;
  for (const v1::PrecisionRow& row : comparison()->precisions()) {
    if (row.precision() == mode) return &row;
  }
  return nullptr;
}

const v1::ScalerRow* StudyFindings::RowOf(v1::LossScaleSpec::Preset preset) const {
  if (scalers() == nullptr) return nullptr;
  for (const v1::ScalerRow& row : scalers()->presets()) {
    if (row.preset() == preset) return &row;
  }
  return nullptr;
}

}  // namespace mantissa::cli
