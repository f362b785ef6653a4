// The presets of loss scaling on one model, one after another.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"
#include "worker/studies/report/number_text.h"
#include "worker/studies/report/scaler_finding.h"
#include "worker/studies/run/study_run.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/scaler_trace.h"
#include "worker/studies/study.h"
#include "worker/trainer/attempt_checks.h"

namespace mantissa::trainer {
namespace {

using Preset = v1::LossScaleSpec::Preset;

// Each once, in the order they are given in.
std::vector<Preset> PresetsOf(const v1::ScalerStudy& spec) {
  std::vector<Preset> presets;
  for (const int preset : spec.presets()) {
    const auto next = static_cast<Preset>(preset);
    if (std::find(presets.begin(), presets.end(), next) == presets.end()) presets.push_back(next);
  }
  return presets;
}

// With all of the preset's rules and none of the spec's; on a failure, what the preset does.
v1::TrainingSpec WithPreset(const v1::TrainingSpec& training, Preset preset) {
  v1::TrainingSpec spec = InPrecision(training, v1::PrecisionSpec::FP16);
  v1::PrecisionSpec& precision = *spec.mutable_precision();
  *precision.mutable_loss_scale() = spec::LossScalePreset(preset);
  precision.set_on_failure(spec::DefaultOnFailure(precision));
  return spec;
}

// Its preset could not be run to its end, or did not get to show all of its rules.
std::string NoteOf(const StudyRun& run, Preset preset) {
  if (!run.failure().empty()) return absl::StrCat("failed: ", run.failure());
  const std::int32_t interval = spec::LossScalePreset(preset).growth_interval();
  if (run.iteration() >= interval) return "";
  return absl::StrCat("the run is shorter than its growth interval, ", interval);
}

void Fill(StudyRun& run, const ScalerTrace& trace, Preset preset, std::int64_t iterations, StudyObserver& observer,
          v1::ScalerStudyReport& result) {
  v1::ScalerRow& row = *result.add_presets();
  row.set_preset(preset);
  trace.Describe(row);
  if (const auto loss = run.history().LastQuarterLoss(iterations)) row.set_loss(*loss);
  if (run.failure().empty()) {
    if (const auto loss = run.EvalLoss(observer)) row.set_eval_loss(*loss);
  }
  row.set_note(NoteOf(run, preset));
  for (const ScalerTrace::Change& change : trace.changes()) {
    v1::ScalePoint& point = *result.add_scales();
    point.set_preset(preset);
    point.set_iteration(static_cast<std::int32_t>(change.iteration));
    point.set_loss_scale(change.loss_scale);
  }
}

}  // namespace

absl::Status RunScalerStudy(const v1::ScalerStudy& spec, const StudyEnvironment& environment, StudyObserver& observer,
                            v1::Report& report) {
  auto training = PrepareTraining(spec.training(), "study.scaler_study.training", environment);
  if (!training.ok()) return training.status();
  const std::string unsupported = WhyUnsupported(training->spec, v1::PrecisionSpec::FP16, environment);
  if (!unsupported.empty()) {
    return Because(v1::Reason::PRECISION_UNSUPPORTED,
                   absl::FailedPreconditionError(absl::StrCat("study.scaler_study: ", unsupported)));
  }
  const std::vector<Preset> presets = PresetsOf(spec);
  v1::ScalerStudyReport& result = *report.mutable_scaler_study();
  StudyProgress progress(PartsOf(training->iterations) * static_cast<std::int64_t>(presets.size()), observer);
  bool thinned = false;
  for (const Preset preset : presets) {
    ScalerTrace trace;
    StudyRun run(*training, WithPreset(training->spec, preset), environment);
    run.Listen([&trace](const IterationRecord& record) { trace.Observe(record); });
    const std::string name = v1::LossScaleSpec::Preset_Name(preset);
    if (!TrainInParts(run, training->iterations, name, progress, observer) && run.failure().empty()) break;
    Fill(run, trace, preset, training->iterations, observer, result);
    thinned = thinned || trace.thinned();
  }
  report.set_finding(ScalerFinding(result, training->iterations));
  report.add_limits(absl::StrCat("Each run is ", training->iterations,
                                 " iterations long; what the scale does later is not known from it."));
  if (result.presets_size() < static_cast<int>(presets.size())) {
    report.set_partial(true);
    report.add_limits(absl::StrCat("It was stopped: ", result.presets_size(), " of ",
                                   CountText(static_cast<long>(presets.size()), "preset"), " are whole."));
  }
  if (thinned) report.add_limits("A scale changed more often than is told: evenly chosen changes were kept.");
  return absl::OkStatus();
}

}  // namespace mantissa::trainer
