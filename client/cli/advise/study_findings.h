// What the studies of one advice found, by kind. For client/cli/advise alone. Pure.
#pragma once

#include <string>
#include <vector>

#include "client/cli/advise/advice.h"

namespace mantissa::cli {

// Refers to the outcomes, which outlive it.
class StudyFindings {
 public:
  explicit StudyFindings(const std::vector<StudyOutcome>& outcomes) : outcomes_(outcomes) {}

  // Null where the study has no report, or was not planned.
  const v1::PrecisionComparisonReport* comparison() const;
  const v1::GradientAnalysisReport* gradients() const;
  const v1::ScalerStudyReport* scalers() const;
  const v1::MemoryPlanReport* memory() const;
  const v1::TensorCoreReport* products() const;
  const v1::FailureModesReport* failures() const;

  // It was among those that were planned.
  bool WasPlanned(v1::StudySpec::KindCase study) const;
  // `scaler_study has no report: ...`.
  std::string WhyNone(v1::StudySpec::KindCase study) const;
  // The first that a report names.
  std::string device() const;
  bool on_cpu() const { return device() == "cpu"; }

  // Null where it was not compared.
  const v1::PrecisionRow* RowOf(v1::PrecisionSpec::Mode mode) const;
  const v1::ScalerRow* RowOf(v1::LossScaleSpec::Preset preset) const;

 private:
  const v1::Report* ReportOf(v1::StudySpec::KindCase study) const;

  const std::vector<StudyOutcome>& outcomes_;
};

}  // namespace mantissa::cli
