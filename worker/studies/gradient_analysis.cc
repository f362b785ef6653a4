// Counts the magnitudes of a model's gradients in FP32, searches the loss scale that suits FP16 best, and checks it by
// training with it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>

#include "worker/studies/loss_scale_search.h"
#include "worker/studies/magnitude_counts.h"
#include "worker/studies/report/gradient_finding.h"
#include "worker/studies/report/number_text.h"
#include "worker/studies/run/study_run.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {
namespace {

// Parameters whose bins are told: of a report of bounded size those are kept whole that lose the most.
constexpr std::size_t kHistograms = 128;
constexpr std::int64_t kMostChecks = 5;  // that ExponentsToCheck has

class GradientAnalysis {
 public:
  GradientAnalysis(const v1::GradientAnalysis& spec, const StudyEnvironment& environment, StudyObserver& observer,
                   v1::Report& report)
      : spec_(spec), environment_(environment), observer_(observer), report_(report) {}

  absl::Status Run() {
    auto training = PrepareTraining(spec_.training(), "study.gradient_analysis.training", environment_);
    if (!training.ok()) return training.status();
    training_ = *std::move(training);
    const std::string unsupported = WhyUnsupported(training_.spec, v1::PrecisionSpec::FP16, environment_);
    const bool checks = spec_.check() && unsupported.empty();
    StudyProgress progress(PartsOf(training_.iterations) * (checks ? 1 + kMostChecks : 1), observer_);
    StudyRun run(training_, InPrecision(training_.spec, v1::PrecisionSpec::FP32), environment_);
    bool whole = Sample(run, progress);
    FillCounts(run.state().model().parameters().parameters());
    if (checks && whole) whole = Check(run, progress);
    Limit(run, spec_.check() && !checks ? unsupported : "");
    if (!whole && run.failure().empty()) {
      report_.set_partial(true);
      report_.add_limits(absl::StrCat("It was stopped after ",
                                      CountText(static_cast<long>(sampled_.iterations), "sample"), " and ",
                                      CountText(result().checks_size(), "run"), "; the rest is missing."));
    }
    report_.set_finding(GradientFinding(result(), sampled_.iterations));
    return absl::OkStatus();
  }

 private:
  void Limit(const StudyRun& run, const std::string& unsupported) {
    report_.add_limits(absl::StrCat("Counts are of ", sampled_.iterations, " of ", training_.iterations,
                                    " iterations; larger gradients may lie between them or come later."));
    if (!unsupported.empty()) report_.add_limits(absl::StrCat("The scales were not tried: ", unsupported, "."));
    if (!run.failure().empty()) report_.add_limits(absl::StrCat("The run in FP32 failed: ", run.failure(), "."));
    if (sampled_.nonfinite > 0) {
      report_.add_limits(absl::StrCat(CountText(static_cast<long>(sampled_.nonfinite), "sample"),
                                      " had elements that are not finite in FP32 already, which no scale helps."));
    }
  }

  v1::GradientAnalysisReport& result() { return *report_.mutable_gradient_analysis(); }

  // The first iteration and every few after it. False when it did not get to its end.
  bool Sample(StudyRun& run, StudyProgress& progress) {
    if (SampleParts(run, progress)) return true;
    if (!run.failure().empty()) {
      progress.Done(absl::StrCat("FP32: ", run.failure()), PartsOf(training_.iterations) * (1 + kMostChecks));
    }
    return false;
  }

  bool SampleParts(StudyRun& run, StudyProgress& progress) {
    counts_.resize(run.state().model().parameters().parameters().size());
    std::int64_t next = 1;
    for (std::int32_t part = 0; part < PartsOf(training_.iterations); ++part) {
      const std::int64_t end = EndOfPart(training_.iterations, part);
      for (; next <= end; next += spec_.every_iterations()) {
        if (!run.Advance(next, observer_)) return false;
        Count(run.state().model().parameters());
      }
      if (!run.Advance(end, observer_)) return false;
      progress.Done(PartText(run, "FP32", training_.iterations));
    }
    return true;
  }

  // A copy on the host: sampled rarely, and read once.
  void Count(const ParameterBuffer& parameters) {
    const at::Tensor gradients = parameters.gradients().cpu();
    MagnitudeCounts here;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      const Parameter& parameter = parameters.parameters()[i];
      const std::span<const float> values(gradients.const_data_ptr<float>() + parameter.offset,
                                          static_cast<std::size_t>(parameter.value.numel()));
      MagnitudeCounts counts;
      counts.Add(values);
      counts_[i].Merge(counts);
      here.Merge(counts);
    }
    ++sampled_.iterations;
    if (here.nonfinite() > 0) ++sampled_.nonfinite;
    if (here.max() > 0) sampled_.largest.Add(here.max());
    sampled_.all.Merge(here);
  }

  void FillCounts(const std::vector<Parameter>& parameters) {
    if (sampled_.iterations == 0) return;
    best_ = BestExponent(sampled_, spec_.min_exponent(), spec_.max_exponent());
    result().set_best_loss_scale(std::ldexp(1.0, best_));
    for (const v1::ScaleCandidate& candidate : SearchLossScale(sampled_, spec_.min_exponent(), spec_.max_exponent())) {
      *result().add_scales() = candidate;
    }
    for (std::size_t i = 0; i < counts_.size(); ++i) FillParameter(parameters[i].shape.path, counts_[i]);
    FillHistograms(parameters);
  }

  void FillParameter(const std::string& path, const MagnitudeCounts& counts) {
    v1::ParameterGradients& row = *result().add_parameters();
    row.set_parameter(path);
    row.set_elements(counts.elements());
    row.set_nonfinite_elements(counts.nonfinite());
    if (counts.elements() > 0) {
      row.set_exact_zero_share(static_cast<double>(counts.zeros()) / static_cast<double>(counts.elements()));
    }
    const LostShares unscaled = SharesAt(counts, 0);
    row.set_subnormal_share(unscaled.subnormal);
    row.set_flushed_share(unscaled.flushed);
    row.set_overflow_share(unscaled.overflowed);
    const LostShares scaled = SharesAt(counts, best_);
    row.set_scaled_subnormal_share(scaled.subnormal);
    row.set_scaled_flushed_share(scaled.flushed);
    row.set_scaled_overflow_share(scaled.overflowed);
    if (counts.counted() == 0) return;
    row.set_p1_log2(*counts.QuantileLog2(0.01));
    row.set_median_log2(*counts.QuantileLog2(0.5));
    row.set_p99_log2(*counts.QuantileLog2(0.99));
    row.set_max_log2(std::log2(double{counts.max()}));
  }

  void FillHistograms(const std::vector<Parameter>& parameters) {
    std::vector<std::size_t> places(counts_.size());
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = i;
    if (places.size() > kHistograms) {
      std::stable_sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
        return SharesAt(counts_[a], 0).flushed > SharesAt(counts_[b], 0).flushed;
      });
      report_.add_limits(absl::StrCat("The histogram is of the ", kHistograms, " of ", places.size(),
                                      " parameters that lose the most without scaling."));
      places.resize(kHistograms);
      std::sort(places.begin(), places.end());
    }
    for (const std::size_t place : places) {
      for (int exponent = MagnitudeCounts::kLeast; exponent <= MagnitudeCounts::kMost; ++exponent) {
        if (counts_[place].In(exponent) == 0) continue;
        v1::GradientBin& bin = *result().add_histogram();
        bin.set_parameter(parameters[place].shape.path);
        bin.set_exponent(exponent);
        bin.set_elements(counts_[place].In(exponent));
      }
    }
  }

  // False when a stop came.
  bool Check(const StudyRun& reference, StudyProgress& progress) {
    AddCheck(reference, 0, "FP32");
    const std::vector<int> exponents = ExponentsToCheck(best_, spec_.min_exponent(), spec_.max_exponent());
    for (const int exponent : exponents) {
      const double scale = std::ldexp(1.0, exponent);
      StudyRun run(training_, WithFixedScale(scale), environment_);
      const bool whole = TrainInParts(run, training_.iterations, absl::StrCat("FP16, loss scale ", ScaleText(scale)),
                                      progress, observer_);
      if (!whole && run.failure().empty()) return false;
      AddCheck(run, scale, run.failure());
    }
    const auto left = kMostChecks - static_cast<std::int64_t>(exponents.size());
    if (left > 0) progress.Done("the grid has no more scales beside the best", left * PartsOf(training_.iterations));
    return true;
  }

  // Between a floor and a ceiling that are the same there is nowhere to go.
  v1::TrainingSpec WithFixedScale(double scale) const {
    v1::TrainingSpec spec = InPrecision(training_.spec, v1::PrecisionSpec::FP16);
    spec.mutable_precision()->set_on_failure(v1::PrecisionSpec::CLAMP);
    v1::LossScaleSpec& fixed = *spec.mutable_precision()->mutable_loss_scale();
    fixed.set_init(scale);
    fixed.set_min(scale);
    fixed.set_max(scale);
    return spec;
  }

  void AddCheck(const StudyRun& run, double scale, const std::string& note) {
    v1::ScaleCheck& check = *result().add_checks();
    check.set_loss_scale(scale);
    check.set_skipped_iterations(static_cast<std::int32_t>(run.skipped()));
    if (const auto loss = run.history().LastQuarterLoss(training_.iterations)) check.set_loss(*loss);
    check.set_note(note);
  }

  const v1::GradientAnalysis& spec_;
  const StudyEnvironment& environment_;
  StudyObserver& observer_;
  v1::Report& report_;
  StudyTraining training_;
  std::vector<MagnitudeCounts> counts_;  // of each parameter
  SampledGradients sampled_;
  int best_ = 0;
};

}  // namespace

absl::Status RunGradientAnalysis(const v1::GradientAnalysis& spec, const StudyEnvironment& environment,
                                 StudyObserver& observer, v1::Report& report) {
  return GradientAnalysis(spec, environment, observer, report).Run();
}

}  // namespace mantissa::trainer
