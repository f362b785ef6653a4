// What the studies of one advice found, by kind. For client/cli/advise alone. Pure.
#pragma once

#include <string>
#include <vector>

#include "client/cli/advise/advice.h"
#include "mantissa/v1/training.pb.h"

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

// Share of the iterations after the scale had settled that were skipped, at least: those before it are the price of a
// first scale that is too high, which a long run pays once.
double LateSkips(const v1::ScalerRow& row);

// Why FP16's loss scale does not hold for this model, a phrase; empty where it does, or nothing says so.
std::string WhyScaleIsUnstable(const StudyFindings& findings, v1::LossScaleSpec::Preset preset);

// The preset that is in effect where the spec is in FP16, TORCH where it names none.
v1::LossScaleSpec::Preset PresetOf(const v1::PrecisionSpec& precision);

// What the training had better run in, where the studies say it: its own mode where nothing better is known.
v1::PrecisionSpec::Mode BestMode(const v1::TrainingSpec& training, const StudyFindings& findings);

// What has to change for the training to run in `mode`: with it, whatever the spec allows in the present mode only.
std::vector<SpecChange> ModeChanges(const v1::PrecisionSpec& precision, v1::PrecisionSpec::Mode mode);

// Evidence, reason and changes of the third rule: what is fastest, what fits, what padding gains.
void AnswerThroughput(const v1::JobSpec& job, const StudyFindings& findings, RuleAnswer& answer);

}  // namespace mantissa::cli
