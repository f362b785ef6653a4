#include "client/cli/advise/advice.h"

#include "absl/strings/str_cat.h"

#include "client/cli/advise/precision_choice.h"
#include "client/cli/advise/study_findings.h"
#include "client/cli/advise/throughput_rule.h"
#include "client/cli/output/number_text.h"
#include "proto/spec/defaults.h"

namespace mantissa::cli {
namespace {

using Answer = RuleAnswer::Answer;
using Kind = v1::StudySpec::KindCase;
using Mode = v1::PrecisionSpec;

constexpr double kManySkipped = 0.02;   // as PrecisionStats calls a scale UNSTABLE that backs off so often
constexpr double kFlushedMore = 0.001;  // of the elements; less than that is not worth another scale

std::string NameOf(v1::PrecisionSpec::Mode mode) { return v1::PrecisionSpec::Mode_Name(mode); }
std::string NameOf(v1::LossScaleSpec::Preset preset) { return v1::LossScaleSpec::Preset_Name(preset); }
std::string Percent(double share) { return absl::StrCat(ShortNumber(100 * share), " %"); }

class Adviser {
 public:
  Adviser(const v1::JobSpec& job, const std::vector<StudyOutcome>& outcomes)
      : job_(job),
        precision_(job.training().precision()),
        findings_(outcomes),
        now_(precision_.mode()),
        best_(BestMode(job.training(), findings_)) {}

  Advice All() {
    Advice advice;
    advice.device = findings_.device();
    for (const PlaybookRule& rule : Playbook()) {
      RuleAnswer& answer = advice.rules.emplace_back();
      answer.number = static_cast<int>(advice.rules.size());
      answer.rule = std::string(rule.rule);
    }
    AnswerDefaults(advice.rules[0]);
    AnswerScale(advice.rules[1]);
    AnswerThroughput(job_, findings_, advice.rules[2]);
    AnswerEdges(advice.rules[3]);
    AnswerBf16(advice.rules[4]);
    AnswerFp32Parts(advice.rules[5]);
    return advice;
  }

 private:
  static void Unknown(const std::string& why, RuleAnswer& answer) {
    answer.answer = Answer::kUnknown;
    answer.reason = why;
  }

  static void Change(const std::string& why, SpecChange change, RuleAnswer& answer) {
    answer.answer = Answer::kChange;
    answer.reason = why;
    answer.changes.push_back(std::move(change));
  }

  // The mode that it will have does not read a loss scale.
  bool NeedsNoScale(RuleAnswer& answer) const {
    if (best_ == Mode::FP16) return false;
    answer.reason = best_ == now_ ? absl::StrCat(NameOf(now_), " has FP32's range and no loss scale")
                                  : absl::StrCat("there is no loss scale in ", NameOf(best_),
                                                 ", which other rules change precision.mode to");
    return true;
  }

  double FirstScale() const {
    const v1::LossScaleSpec& scale = precision_.loss_scale();
    return scale.has_init() ? scale.init() : spec::LossScalePreset(PresetOf(precision_)).init();
  }

  const v1::ScaleCandidate* CandidateOf(double scale) const {
    for (const v1::ScaleCandidate& candidate : findings_.gradients()->scales()) {
      if (candidate.loss_scale() == scale) return &candidate;
    }
    return nullptr;
  }

  // Is the scale that it begins with one that its gradients can do with?
  void AnswerDefaults(RuleAnswer& answer) const {
    const v1::GradientAnalysisReport* gradients = findings_.gradients();
    if (gradients != nullptr) DescribeGradients(*gradients, answer);
    if (NeedsNoScale(answer)) return;
    if (gradients == nullptr) return Unknown(findings_.WhyNone(Kind::kGradientAnalysis), answer);
    const double best = gradients->best_loss_scale();
    if (!(best > 0)) return Unknown("gradient_analysis found no scale that suits this model", answer);
    const double first = FirstScale();
    const SpecChange change = {"training.precision.loss_scale.init", ScaleText(first), ScaleText(best)};
    const v1::ScaleCandidate* at_first = CandidateOf(first);
    const v1::ScaleCandidate* at_best = CandidateOf(best);
    if (at_first == nullptr || at_best == nullptr) {
      return Unknown(absl::StrCat("the first scale, ", ScaleText(first), ", is none of those that were tried"), answer);
    }
    if (at_first->skipped_share() > 0) {
      return Change(absl::StrCat("from ", ScaleText(first), ", ", Percent(at_first->skipped_share()),
                                 " of the iterations seen would overflow; from ", ScaleText(best), ", none"),
                    change, answer);
    }
    if (at_first->flushed_share() > at_best->flushed_share() + kFlushedMore) {
      return Change(absl::StrCat("at ", ScaleText(first), ", ", Percent(at_first->flushed_share()),
                                 " of the gradients' elements are lost; at ", ScaleText(best), ", ",
                                 Percent(at_best->flushed_share())),
                    change, answer);
    }
    answer.reason = absl::StrCat("the first scale, ", ScaleText(first), ", loses no more than the best one");
  }

  static void DescribeGradients(const v1::GradientAnalysisReport& gradients, RuleAnswer& answer) {
    for (const v1::ScaleCandidate& candidate : gradients.scales()) {
      if (candidate.loss_scale() != 1 && !candidate.best()) continue;
      answer.evidence.push_back(absl::StrCat(
          candidate.loss_scale() == 1 ? "without scaling"
                                      : absl::StrCat("at the best scale, ", ScaleText(candidate.loss_scale()), ","),
          " FP16 loses ", Percent(candidate.flushed_share()), " of the gradients' elements, and ",
          Percent(candidate.skipped_share()), " of the iterations overflow"));
    }
  }

  // Does the scale settle, and with few skipped iterations?
  void AnswerScale(RuleAnswer& answer) const {
    const v1::ScalerRow* best = nullptr;
    if (findings_.scalers() != nullptr) {
      for (const v1::ScalerRow& row : findings_.scalers()->presets()) {
        answer.evidence.push_back(ScalerText(row));
        if (!row.has_calibration_iterations()) continue;
        if (best == nullptr || row.skipped_iterations() < best->skipped_iterations()) best = &row;
      }
    }
    if (NeedsNoScale(answer)) return;
    if (findings_.scalers() == nullptr) return Unknown(findings_.WhyNone(Kind::kScalerStudy), answer);
    const v1::LossScaleSpec::Preset preset = PresetOf(precision_);
    const v1::ScalerRow* row = findings_.RowOf(preset);
    if (row == nullptr) return Unknown(absl::StrCat("scaler_study says nothing of ", NameOf(preset)), answer);
    // One that has not settled is left for another precision (BestMode), so this one has.
    if (LateSkips(*row) <= kManySkipped) {
      answer.reason = absl::StrCat(NameOf(preset), " settled after ", row->calibration_iterations(),
                                   " iterations, and skipped ", Percent(LateSkips(*row)), " of those after");
    } else if (best->skipped_iterations() < row->skipped_iterations()) {
      Change(absl::StrCat(NameOf(best->preset()), " skips ", best->skipped_iterations(), " iterations, where ",
                          NameOf(preset), " skips ", row->skipped_iterations()),
             {"training.precision.loss_scale.preset", NameOf(preset), NameOf(best->preset())}, answer);
    } else {
      answer.reason = absl::StrCat("it settled, and no preset skips less than ", NameOf(preset));
    }
  }

  static std::string ScalerText(const v1::ScalerRow& row) {
    std::string text =
        absl::StrCat(NameOf(row.preset()), ": skipped ", row.skipped_iterations(), " of ", row.iterations(), ", scale ",
                     ScaleText(row.first_scale()), " to ", ScaleText(row.last_scale()));
    return absl::StrCat(text, row.has_calibration_iterations()
                                  ? absl::StrCat(", settled after ", row.calibration_iterations())
                                  : std::string(", not settled"));
  }

  // What goes wrong on this device, and whether the spec is ready for it.
  void AnswerEdges(RuleAnswer& answer) const {
    const v1::FailureModesReport* failures = findings_.failures();
    bool shown = false;
    if (failures != nullptr) {
      for (const v1::FailureRow& row : failures->modes()) {
        const bool failed =
            row.outcome() == v1::FailureModesReport::REMEDIED || row.outcome() == v1::FailureModesReport::NOT_REMEDIED;
        shown = shown || failed;
        answer.evidence.push_back(
            absl::StrCat(v1::FailureModes::Mode_Name(row.mode()), " in ", NameOf(row.precision()), ": ",
                         v1::FailureModesReport::Outcome_Name(row.outcome()),
                         failed && !row.remedy().empty() ? absl::StrCat(", ", row.remedy()) : ""));
      }
    }
    if (precision_.has_check_loss() && !precision_.check_loss()) {
      Change("a loss that is not finite would be learned from", {"training.precision.check_loss", "false", "true"},
             answer);
    }
    if (failures == nullptr) {
      if (answer.changes.empty()) Unknown(findings_.WhyNone(Kind::kFailureModes), answer);
      return;
    }
    if (shown && best_ == Mode::FP16 && precision_.on_failure() == Mode::FAIL) {
      // With `fallback` given, on_failure follows; both are named, so that nothing is left to a default.
      Change("FP16 was seen to fail here, and the spec ends the job where it does",
             {"training.precision.on_failure", "FAIL", "FALLBACK"}, answer);
      if (precision_.fallback().empty()) {
        answer.changes.push_back({"training.precision.fallback", "[]", "[BF16, FP32]"});
      }
    }
    if (!answer.changes.empty()) return;
    answer.reason = !shown                ? "nothing failed on this device"
                    : best_ == Mode::FP16 ? "what failed has its remedy, and the spec says what to do when FP16 fails"
                                          : absl::StrCat("what failed has its remedy, and ", NameOf(best_),
                                                         " needs no other precision to fall back to");
  }

  void AnswerBf16(RuleAnswer& answer) const {
    for (const auto mode : {Mode::FP16, Mode::BF16}) {
      const v1::PrecisionRow* row = findings_.RowOf(mode);
      if (row == nullptr) continue;
      answer.evidence.push_back(
          absl::StrCat(NameOf(mode), ": ", v1::PrecisionComparisonReport::Verdict_Name(row->verdict()),
                       row->has_skipped_share() ? absl::StrCat(", skipped ", Percent(row->skipped_share())) : ""));
    }
    if (now_ != Mode::FP16) {
      answer.reason = absl::StrCat(NameOf(now_), " has no loss scale that could be unstable");
      return;
    }
    const std::string unstable = WhyScaleIsUnstable(findings_, PresetOf(precision_));
    if (!unstable.empty()) {
      answer.answer = Answer::kChange;
      answer.reason = unstable;
      answer.changes = ModeChanges(precision_, best_);
      return;
    }
    if (findings_.RowOf(Mode::FP16) == nullptr && findings_.scalers() == nullptr) {
      return Unknown(findings_.WhyNone(Kind::kScalerStudy), answer);
    }
    answer.reason = "the loss scale is stable";
  }

  // Nothing in a spec can change it, so this needs no study; what FP16 would do to them is seen in one.
  void AnswerFp32Parts(RuleAnswer& answer) const {
    answer.reason =
        "norms, softmax, sums and the loss are FP32 in every mode, and no override changes that (mantissa "
        "describe-precision shows it)";
    if (findings_.failures() == nullptr) {
      answer.evidence.push_back(findings_.WhyNone(Kind::kFailureModes));
      return;
    }
    for (const v1::FailureRow& row : findings_.failures()->modes()) {
      const bool in_fp32 = row.mode() == v1::FailureModes::SOFTMAX_OVERFLOW ||
                           row.mode() == v1::FailureModes::LARGE_REDUCTION ||
                           row.mode() == v1::FailureModes::SMALL_EPSILON;
      if (in_fp32 && row.has_reference() && row.has_low()) {
        answer.evidence.push_back(absl::StrCat(v1::FailureModes::Mode_Name(row.mode()), ", ", row.quantity(), ": ",
                                               ShortNumber(row.reference(), 4), " in FP32, ", ShortNumber(row.low(), 4),
                                               " in ", NameOf(row.precision())));
      }
    }
  }

  const v1::JobSpec& job_;
  const v1::PrecisionSpec& precision_;
  const StudyFindings findings_;
  const v1::PrecisionSpec::Mode now_;
  const v1::PrecisionSpec::Mode best_;
};

}  // namespace

const std::vector<PlaybookRule>& Playbook() {
  static const std::vector<PlaybookRule>& rules = *new std::vector<PlaybookRule>{
      {"Start conservatively, with the defaults",
       "gradient_analysis says which loss scale suits the model's gradients; the scale that the spec begins with is "
       "changed where it would overflow, or lose more of them."},
      {"Watch the loss scale",
       "scaler_study runs every preset; the spec's is changed where it skips more than 2 % of the iterations once it "
       "has settled, and another skips fewer."},
      {"Profile memory and compute; throughput counts",
       "precision_comparison says which precision is fastest and trains as FP32 does, memory_plan what fits at once, "
       "tensor_core what padding gains (5 % or more)."},
      {"Test the edge cases",
       "failure_modes shows on this device what goes wrong in low precision, of what this model does; the spec is "
       "changed where it is not ready for that."},
      {"Take BF16 where the scale is unstable",
       "It is unstable where FP16 failed, its scale had not settled, or more than 5 % of the iterations were skipped "
       "after it had."},
      {"Keep loss and norms in FP32", "It always is; failure_modes shows what it spares."},
  };
  return rules;
}

std::string_view AnswerName(RuleAnswer::Answer answer) {
  switch (answer) {
    case Answer::kAsItIs:
      return "AS_IT_IS";
    case Answer::kChange:
      return "CHANGE";
    case Answer::kUnknown:
      break;
  }
  return "UNKNOWN";
}

Advice AdviseOn(const v1::JobSpec& job, const std::vector<StudyOutcome>& outcomes) {
  return Adviser(job, outcomes).All();
}

}  // namespace mantissa::cli
