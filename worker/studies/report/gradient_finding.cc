#include "worker/studies/report/gradient_finding.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "worker/studies/report/number_text.h"
#include "worker/studies/sample_statistics.h"

namespace mantissa::trainer {
namespace {

constexpr double kFar = 10;        // in powers of two, from the median of medians
constexpr std::size_t kNamed = 3;  // parameters

const v1::ScaleCandidate* BestOf(const v1::GradientAnalysisReport& report) {
  const auto best = std::find_if(report.scales().begin(), report.scales().end(),
                                 [](const v1::ScaleCandidate& candidate) { return candidate.best(); });
  return best == report.scales().end() ? nullptr : &*best;
}

// What FP16 loses with scale 1, over all parameters.
double FlushedUnscaled(const v1::GradientAnalysisReport& report) {
  double flushed = 0;
  double counted = 0;
  for (const v1::ParameterGradients& parameter : report.parameters()) {
    const double here = static_cast<double>(parameter.elements()) * (1 - parameter.exact_zero_share()) -
                        static_cast<double>(parameter.nonfinite_elements());
    flushed += here * parameter.flushed_share();
    counted += here;
  }
  return counted > 0 ? flushed / counted : 0;
}

// With twice the best scale something overflows: the grid has none that leaves a factor of two.
bool LacksRoom(const v1::GradientAnalysisReport& report, const v1::ScaleCandidate& best) {
  return std::any_of(report.scales().begin(), report.scales().end(), [&](const v1::ScaleCandidate& candidate) {
    return candidate.loss_scale() == 2 * best.loss_scale() && candidate.overflow_share() > 0;
  });
}

std::string ScaleSentence(const v1::GradientAnalysisReport& report, const v1::ScaleCandidate& best) {
  if (best.overflow_share() > 0) {
    return absl::StrCat("No scale of the grid is safe: even ", ScaleText(best.loss_scale()), " would skip ",
                        PercentText(best.skipped_share()), " of the iterations.");
  }
  return absl::StrCat(
      "The best loss scale is ", ScaleText(best.loss_scale()), ": with it ", PercentText(best.flushed_share()),
      " are lost, and no iteration that was seen overflows",
      LacksRoom(report, best) ? ", but with twice that some would, and the grid has no smaller one" : "", ".");
}

std::string CheckSentence(const v1::GradientAnalysisReport& report, const v1::ScaleCandidate& best) {
  std::optional<double> reference;
  std::int32_t anyway = 0;  // skipped in FP32, too: no scale is to blame
  std::vector<std::string> skipping;
  const v1::ScaleCheck* checked = nullptr;
  for (const v1::ScaleCheck& check : report.checks()) {
    if (check.loss_scale() == 0) {
      if (check.has_loss()) reference = check.loss();
      anyway = check.skipped_iterations();
      continue;
    }
    if (check.loss_scale() == best.loss_scale()) checked = &check;
    if (check.skipped_iterations() > anyway) {
      skipping.push_back(absl::StrCat(ScaleText(check.loss_scale()), " skipped ", check.skipped_iterations()));
    }
  }
  if (checked == nullptr) return "";
  std::string text = absl::StrCat(" Trained in FP16 with it, ", CountText(checked->skipped_iterations(), "iteration"),
                                  checked->skipped_iterations() == 1 ? " was" : " were", " skipped");
  if (anyway > 0) absl::StrAppend(&text, " (", anyway, " in FP32, too)");
  if (checked->has_loss() && reference) {
    absl::StrAppendFormat(&text, " and the loss came to %.4g, FP32's to %.4g", checked->loss(), *reference);
  }
  absl::StrAppend(&text, ".");
  if (checked->skipped_iterations() > anyway) {
    absl::StrAppend(
        &text, best.overflow_share() > 0 ? " Take" : " So what was sampled did not show the largest gradients: take",
        " a smaller scale, or a dynamic one.");
  }
  if (!skipping.empty()) absl::StrAppend(&text, " Too high: ", absl::StrJoin(skipping, ", "), ".");
  return text;
}

std::string ApartSentence(const v1::GradientAnalysisReport& report) {
  std::vector<double> medians;
  for (const v1::ParameterGradients& parameter : report.parameters()) {
    if (parameter.has_median_log2()) medians.push_back(parameter.median_log2());
  }
  if (medians.size() < 2) return "";
  const double middle = Quantile(medians, 0.5);
  std::vector<std::string> apart;
  for (const v1::ParameterGradients& parameter : report.parameters()) {
    if (!parameter.has_median_log2() || std::fabs(parameter.median_log2() - middle) <= kFar) continue;
    apart.push_back(absl::StrFormat("%s (2^%.0f)", parameter.parameter(), parameter.median_log2()));
  }
  if (apart.empty()) return "";
  const std::size_t more = apart.size() > kNamed ? apart.size() - kNamed : 0;
  apart.resize(apart.size() - more);
  return absl::StrFormat(" Far from the others' medians, about 2^%.0f, and candidates for an override: %s%s.", middle,
                         absl::StrJoin(apart, ", "), more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

}  // namespace

std::string GradientFinding(const v1::GradientAnalysisReport& report, std::int64_t iterations) {
  const v1::ScaleCandidate* best = BestOf(report);
  if (best == nullptr) return "It was stopped before gradients were sampled.";
  const bool any = std::any_of(report.parameters().begin(), report.parameters().end(),
                               [](const v1::ParameterGradients& parameter) { return parameter.has_max_log2(); });
  if (!any) return "Every gradient that was sampled is 0 or not finite: there is nothing to scale.";
  return absl::StrCat("Of the gradients of ", CountText(static_cast<long>(iterations), "iteration"), ", FP16 loses ",
                      PercentText(FlushedUnscaled(report)), " without scaling: they round to 0. ",
                      ScaleSentence(report, *best), CheckSentence(report, *best), ApartSentence(report));
}

}  // namespace mantissa::trainer
