#include "client/cli/plot/picture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/lineage_text.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

// From this ratio of its ends on, a linear axis would show nothing of the lower part.
constexpr double kFar = 30;
constexpr std::size_t kMostNotes = 6;

using ReachOf = Reach PlotPoint::*;

struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void Add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

std::string Counted(std::int64_t count, std::string_view one, std::string_view many) {
  return absl::StrCat(GroupedCount(count), " ", std::string(count == 1 ? one : many));
}

// A panel with its curve and the marks of values that are no numbers; without strokes when there is no finite value.
Panel CurveOf(Hue hue, std::string title, const PlotData& data, ReachOf value) {
  Panel panel;
  panel.hue = hue;
  panel.title = std::move(title);
  bool join = false;
  for (const PlotRun& run : data.runs) {
    join = false;
    for (const PlotPoint& point : run.points) {
      const Reach& reach = point.*value;
      if (reach.nan) panel.marks.push_back({point.iteration, MarkKind::kNan});
      if (reach.infinite) panel.marks.push_back({point.iteration, MarkKind::kInfinite});
      if (reach.nan || reach.infinite) join = false;  // the line to there would be made up
      if (!reach.low) continue;  // a skipped iteration has no grad norm: the line goes on across it
      panel.strokes.push_back({.iteration = point.iteration,
                               .low = *reach.low,
                               .high = *reach.high,
                               .last = reach.last.value_or(*reach.high),
                               .joined = join,
                               .superseded = point.iteration >= run.superseded_from});
      join = !reach.nan && !reach.infinite;
    }
  }
  return panel;
}

Extent ExtentOf(const Panel& panel) {
  Extent extent;
  for (const Stroke& stroke : panel.strokes) {
    extent.Add(stroke.low);
    extent.Add(stroke.high);
  }
  for (const PlotEvaluation& evaluation : panel.evaluations) extent.Add(evaluation.loss);
  return extent;
}

AxisKind KindFor(const Extent& extent) {
  return extent.low > 0 && extent.high > kFar * extent.low ? AxisKind::kLog : AxisKind::kLinear;
}

// Behind the newest value, so that it is among the last to go where the line is too narrow.
void AddWarning(std::string text, Panel& panel) {
  panel.facts.insert(panel.facts.begin() + (panel.facts.empty() ? 0 : 1), std::move(text));
}

void AddMarkFacts(Panel& panel) {
  const auto count = [&panel](MarkKind kind) {
    return std::count_if(panel.marks.begin(), panel.marks.end(), [kind](const Mark& m) { return m.kind == kind; });
  };
  if (const auto nan = count(MarkKind::kNan); nan > 0) AddWarning(absl::StrCat("NaN at ", nan), panel);
  if (const auto inf = count(MarkKind::kInfinite); inf > 0) AddWarning(absl::StrCat("Inf at ", inf), panel);
}

Panel LossPanel(const PlotData& data, const PictureOptions& options) {
  Panel panel = CurveOf(Hue::kLoss, "loss", data, &PlotPoint::loss);
  for (const PlotEvaluation& evaluation : data.evaluations) {
    if (std::isfinite(evaluation.loss)) panel.evaluations.push_back(evaluation);
    if (std::isnan(evaluation.loss)) panel.marks.push_back({evaluation.iteration, MarkKind::kNan});
    if (std::isinf(evaluation.loss)) panel.marks.push_back({evaluation.iteration, MarkKind::kInfinite});
  }
  const Extent extent = ExtentOf(panel);
  panel.axis = AxisFor(options.loss_axis.value_or(KindFor(extent)), extent.low, extent.high);
  if (!panel.strokes.empty()) {
    panel.facts = {absl::StrCat("last ", ShortNumber(panel.strokes.back().last)),
                   absl::StrCat("lowest ", ShortNumber(extent.low)),
                   absl::StrCat("highest ", ShortNumber(extent.high))};
  }
  if (!panel.evaluations.empty()) {
    panel.facts.push_back(absl::StrCat("● evaluations, last ", ShortNumber(panel.evaluations.back().loss)));
  }
  AddMarkFacts(panel);
  return panel;
}

void AddOverflows(const PlotData& data, Panel& panel) {
  for (const PlotRun& run : data.runs) {
    for (const PlotPoint& point : run.points) {
      if (point.skipped > 0) panel.marks.push_back({point.iteration, MarkKind::kOverflow});
    }
  }
  if (data.skipped > 0) {
    const double percent = 100.0 * static_cast<double>(data.skipped) / static_cast<double>(data.records);
    AddWarning(absl::StrCat("▼ ", Counted(data.skipped, "iteration", "iterations"), " skipped (",
                            ShortNumber(percent, 2), " %)"),
               panel);
  }
}

Panel ScalePanel(const PlotData& data) {
  Panel panel = CurveOf(Hue::kLossScale, "loss scale", data, &PlotPoint::loss_scale);
  const Extent extent = ExtentOf(panel);
  panel.axis = AxisFor(AxisKind::kLogOfTwo, extent.low, extent.high);
  if (!panel.strokes.empty()) {
    panel.facts = {absl::StrCat("last ", ScaleText(panel.strokes.back().last)),
                   absl::StrCat("lowest ", ScaleText(extent.low)), absl::StrCat("highest ", ScaleText(extent.high))};
  }
  AddMarkFacts(panel);
  return panel;
}

Panel NormPanel(const PlotData& data) {
  Panel panel = CurveOf(Hue::kGradNorm, "grad norm", data, &PlotPoint::grad_norm);
  const Extent extent = ExtentOf(panel);
  panel.axis = AxisFor(KindFor(extent), extent.low, extent.high);
  if (!panel.strokes.empty()) {
    panel.facts = {absl::StrCat("last ", ShortNumber(panel.strokes.back().last)),
                   absl::StrCat("highest ", ShortNumber(extent.high))};
  }
  AddMarkFacts(panel);
  return panel;
}

std::vector<Boundary> BoundariesOf(const PlotData& data) {
  std::vector<Boundary> boundaries;
  for (std::size_t i = 1; i < data.runs.size(); ++i) {
    const PlotRun& before = data.runs[i - 1];
    const PlotRun& run = data.runs[i];
    std::string text;
    if (run.attempt != before.attempt) text = absl::StrCat("attempt ", run.attempt);
    if (run.lineage != before.lineage) absl::StrAppend(&text, text.empty() ? "" : ", ", "lineage ", run.lineage);
    if (!text.empty()) boundaries.push_back({run.points.front().iteration, text});
  }
  return boundaries;
}

std::string PrecisionOf(const v1::Job& job) {
  const v1::PrecisionSpec::Mode submitted = job.resolved_spec().training().precision().mode();
  const v1::PrecisionSpec::Mode effective = job.has_lineage() ? job.lineage().precision() : submitted;
  return effective == v1::PrecisionSpec::MODE_UNSPECIFIED
             ? ""
             : PrecisionText(submitted, effective, job.progress().emulated());
}

void AddNotes(const PlotData& data, Picture& picture) {
  std::vector<std::string>& notes = picture.notes;
  for (const Boundary& boundary : picture.boundaries) {
    notes.push_back(
        absl::StrCat(boundary.text, " from iteration ", GroupedCount(std::llround(boundary.iteration)), " on"));
  }
  for (const PlotGap& gap : data.gaps) {
    const std::string who =
        absl::StrCat(" of attempt ", gap.attempt, gap.records == 1 ? " is missing" : " are missing");
    if (gap.first_iteration > 0) {
      notes.push_back(absl::StrCat(Counted(gap.records, "record", "records"), who, ", iterations ",
                                   GroupedCount(std::llround(gap.first_iteration)), " to ",
                                   GroupedCount(std::llround(gap.last_iteration))));
    } else {
      notes.push_back(absl::StrCat("records of attempt ", gap.attempt, " are missing"));
    }
  }
  if (notes.size() > kMostNotes) {
    const std::size_t more = notes.size() - (kMostNotes - 1);
    notes.resize(kMostNotes - 1);
    notes.push_back(absl::StrCat("and ", more, " more of these"));
  }
}

}  // namespace

Picture MakePicture(const v1::Job& job, const PlotData& data, const PictureOptions& options) {
  Picture picture;
  picture.name = JobName(job);
  picture.state = job.state();
  Extent iterations;
  for (const PlotRun& run : data.runs) {
    for (const PlotPoint& point : run.points) iterations.Add(point.iteration);
  }
  for (const PlotEvaluation& evaluation : data.evaluations) iterations.Add(evaluation.iteration);
  // From the first to the last, without room at the ends; one alone lies at the beginning.
  picture.iterations = {AxisKind::kLinear, iterations.low, std::max(iterations.high, iterations.low + 1)};

  picture.facts.push_back(absl::StrCat("attempt ", std::max(job.attempt(), data.runs.back().attempt)));
  const std::string precision = PrecisionOf(job);
  if (!precision.empty()) picture.facts.push_back(precision);
  picture.facts.push_back(Counted(data.records, "record", "records"));

  picture.boundaries = BoundariesOf(data);
  for (const PlotGap& gap : data.gaps) {
    if (gap.first_iteration > 0) picture.gaps.push_back(gap);
  }
  AddNotes(data, picture);

  picture.panels.push_back(LossPanel(data, options));
  Panel scale = ScalePanel(data);
  Panel norm = NormPanel(data);
  // Overflows belong to the scale; a run without one still skips what is not finite.
  AddOverflows(data, scale.strokes.empty() ? picture.panels.front() : scale);
  if (scale.strokes.empty() && scale.marks.empty()) {
    picture.notes.push_back(
        absl::StrCat("no loss scale: ", precision.empty() ? "this precision" : precision, " runs without one"));
  } else {
    picture.panels.push_back(std::move(scale));
  }
  if (norm.strokes.empty() && norm.marks.empty()) {
    picture.notes.push_back("no grad norm: every iteration was skipped");
  } else {
    picture.panels.push_back(std::move(norm));
  }
  return picture;
}

}  // namespace mantissa::cli
