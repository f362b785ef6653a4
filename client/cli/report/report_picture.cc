#include "client/cli/report/report_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "proto/spec/study_report.h"

namespace mantissa::cli {
namespace {

constexpr std::size_t kMostParameters = 5;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void Take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// Of one precision at one iteration, over its seeds.
struct Losses {
  Range range;
  double sum = 0;
  int finite = 0;
  bool nan = false;
};

Panel LossPanel(const std::string& title, const std::map<std::int32_t, Losses>& points) {
  Panel panel;
  panel.hue = Hue::kLoss;
  panel.title = title;
  for (const auto& [iteration, losses] : points) {
    if (losses.nan) panel.marks.push_back({static_cast<double>(iteration), MarkKind::kNan});
    if (losses.finite == 0) continue;
    const double mean = losses.sum / losses.finite;
    panel.strokes.push_back(
        {static_cast<double>(iteration), losses.range.low, losses.range.high, mean, !panel.strokes.empty(), false});
  }
  if (!panel.strokes.empty()) {
    panel.facts.push_back(absl::StrCat("last ", ShortNumber(panel.strokes.back().last, 4)));
  }
  return panel;
}

void AddCurves(const v1::PrecisionComparisonReport& report, Picture& picture) {
  std::map<v1::PrecisionSpec::Mode, std::map<std::int32_t, Losses>> curves;
  Range across, all;
  for (const v1::LossCurvePoint& point : report.curves()) {
    Losses& losses = curves[point.precision()][point.iteration()];
    losses.range.Take(point.loss());
    across.Take(point.iteration());
    all.Take(point.loss());
    if (std::isfinite(point.loss())) {
      losses.sum += point.loss();
      ++losses.finite;
    } else {
      losses.nan = true;
    }
  }
  const bool far = all.low > 0 && all.high > 10 * all.low;
  picture.iterations = AxisFor(AxisKind::kLinear, across.low, across.high);
  for (const auto& [precision, points] : curves) {
    Panel& panel =
        picture.panels.emplace_back(LossPanel(absl::StrCat(v1::PrecisionSpec::Mode_Name(precision), " loss"), points));
    panel.axis = AxisFor(far ? AxisKind::kLog : AxisKind::kLinear, all.low, all.high);
  }
  picture.notes.push_back("The line is the mean over seeds, its height what lies between the least and the greatest.");
}

Panel CountsPanel(const std::string& title, const std::map<std::int32_t, std::int64_t>& counts) {
  Panel panel;
  panel.hue = Hue::kGradNorm;
  panel.title = title;
  double most = 0;
  std::int64_t elements = 0;
  for (const auto& [exponent, count] : counts) {
    panel.strokes.push_back({static_cast<double>(exponent), 0, static_cast<double>(count), 0, false, false});
    most = std::max(most, static_cast<double>(count));
    elements += count;
  }
  panel.facts.push_back(absl::StrCat(GroupedCount(elements), " elements"));
  panel.axis = AxisFor(AxisKind::kLinear, 0, std::max(1.0, most));
  return panel;
}

void AddHistogram(const v1::GradientAnalysisReport& report, Picture& picture) {
  using Counts = std::map<std::int32_t, std::int64_t>;
  std::map<std::string, Counts> by_parameter;
  std::map<std::string, std::int64_t> elements;
  Counts all;
  Range across;
  for (const v1::GradientBin& bin : report.histogram()) {
    by_parameter[bin.parameter()][bin.exponent()] += bin.elements();
    elements[bin.parameter()] += bin.elements();
    all[bin.exponent()] += bin.elements();
    across.Take(bin.exponent());
  }
  if (all.empty()) return;
  picture.across = "power of two";
  picture.iterations = AxisFor(AxisKind::kLinear, std::min(across.low, -26.0), std::max(across.high, 1.0));
  picture.panels.push_back(CountsPanel("all gradients", all));
  std::vector<std::pair<std::int64_t, std::string>> largest;
  for (const auto& [parameter, count] : elements) largest.emplace_back(-count, parameter);
  std::sort(largest.begin(), largest.end());
  const std::size_t shown = std::min(kMostParameters, largest.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const std::string& parameter = largest[i].second;
    picture.panels.push_back(CountsPanel(ForTerminal(parameter), by_parameter.at(parameter)));
  }
  picture.boundaries.push_back({-14, "smallest normal"});
  picture.boundaries.push_back({-25, "to zero"});
  picture.notes.push_back("Elements by magnitude. Dashed: FP16 loses bits below 2^-14, and everything below 2^-25.");
}

// A scale stays as it is until it changes.
void AddStep(double iteration, double scale, Panel& panel) {
  if (!panel.strokes.empty()) {
    const double before = panel.strokes.back().last;
    panel.strokes.push_back({iteration, before, before, before, true, false});
    panel.strokes.push_back({iteration, std::min(before, scale), std::max(before, scale), scale, true, false});
  } else {
    panel.strokes.push_back({iteration, scale, scale, scale, false, false});
  }
}

void AddScales(const v1::ScalerStudyReport& report, Picture& picture) {
  Range across, all;
  std::map<v1::LossScaleSpec::Preset, std::vector<v1::ScalePoint>> scales;
  for (const v1::ScalePoint& point : report.scales()) {
    if (!(point.loss_scale() > 0) || !std::isfinite(point.loss_scale())) continue;
    scales[point.preset()].push_back(point);
    across.Take(point.iteration());
    all.Take(point.loss_scale());
  }
  for (const v1::ScalerRow& row : report.presets()) across.Take(row.iterations());
  picture.iterations = AxisFor(AxisKind::kLinear, across.low, across.high);
  for (const auto& [preset, points] : scales) {
    Panel panel;
    panel.hue = Hue::kLossScale;
    panel.title = absl::StrCat(v1::LossScaleSpec::Preset_Name(preset), " loss scale");
    panel.axis = AxisFor(AxisKind::kLogOfTwo, all.low, all.high);
    for (const v1::ScalePoint& point : points) AddStep(point.iteration(), point.loss_scale(), panel);
    for (const v1::ScalerRow& row : report.presets()) {
      if (row.preset() != preset) continue;
      AddStep(row.iterations(), panel.strokes.back().last, panel);
      panel.facts.push_back(absl::StrCat("skipped ", row.skipped_iterations(), " of ", row.iterations()));
    }
    picture.panels.push_back(std::move(panel));
  }
}

}  // namespace

absl::StatusOr<Picture> PictureOf(const v1::Job& job, const v1::Report& report) {
  const std::string study(spec::StudyName(spec::StudyOf(report)));
  Picture picture;
  picture.name = JobName(job);
  picture.state = job.state();
  picture.facts = {study};
  switch (report.result_case()) {
    case v1::Report::kPrecisionComparison:
      AddCurves(report.precision_comparison(), picture);
      break;
    case v1::Report::kGradientAnalysis:
      AddHistogram(report.gradient_analysis(), picture);
      break;
    case v1::Report::kScalerStudy:
      AddScales(report.scaler_study(), picture);
      break;
    default:
      return absl::FailedPreconditionError(absl::StrCat(
          "--png: of ", study,
          " there is no picture: its tables say it all; precision_comparison, gradient_analysis and scaler_study have "
          "one"));
  }
  std::erase_if(picture.panels, [](const Panel& panel) { return panel.strokes.empty() && panel.marks.empty(); });
  if (picture.panels.empty()) {
    return absl::FailedPreconditionError("--png: the report has no points to draw; its finding says why");
  }
  return picture;
}

}  // namespace mantissa::cli
