#include "worker/studies/machine/layout_benchmark.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/ATen.h>

#include "worker/studies/machine/product.h"
#include "worker/studies/machine/product_study.h"
#include "worker/studies/machine/timing.h"
#include "worker/studies/report/number_text.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec::Mode;
using Report = v1::LayoutBenchmarkReport;

constexpr Report::Layout kLayouts[] = {Report::CONTIGUOUS, Report::TRANSPOSED, Report::STRIDED};
// Slower than this is a cost, less is noise.
constexpr double kCost = 1.1;
// A tail this many times the median is not the product's own.
constexpr double kDisturbed = 3;

std::vector<v1::MatrixShape> ShapesOf(const v1::LayoutBenchmark& spec, c10::Device device) {
  if (spec.shapes_size() > 0) return {spec.shapes().begin(), spec.shapes().end()};
  if (device.is_cpu()) return {ShapeOf(32, 128, 128), ShapeOf(128, 256, 256), ShapeOf(256, 512, 512)};
  // The larger ones take a fast GPU longer than several launches.
  return {ShapeOf(1024, 1024, 1024), ShapeOf(4096, 4096, 4096), ShapeOf(8192, 4096, 4096)};
}

std::vector<Mode> ModesOf(const v1::LayoutBenchmark& spec) {
  std::vector<Mode> modes;
  for (const int mode : spec.precisions()) modes.push_back(static_cast<Mode>(mode));
  if (modes.empty()) modes = {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16};
  return modes;
}

// The rows of one product, in every layout. Lives as long as the study.
class LayoutRows {
 public:
  LayoutRows(int rounds, const StudyEnvironment& environment, Control& control)
      : rounds_(rounds), environment_(environment), control_(control) {}

  // False when a stop was requested; no row is added then.
  bool Add(const v1::MatrixShape& shape, Mode mode, Report& report) {
    std::vector<v1::LayoutRow> rows;
    for (const Report::Layout layout : kLayouts) {
      v1::LayoutRow& row = rows.emplace_back();
      row.set_m(shape.m());
      row.set_n(shape.n());
      row.set_k(shape.k());
      row.set_precision(mode);
      row.set_layout(layout);
    }
    std::optional<std::string> why = WhyNoProduct(environment_, mode);
    // Operands in three layouts, one of them with gaps, and what the FP64 check adds.
    if (!why) why = WhyNoRoom(6 * BytesMoved(shape.m(), shape.n(), shape.k(), mode), environment_);
    if (why) {
      for (v1::LayoutRow& row : rows) row.set_note(*why);
    } else if (!Time(shape, mode, rows)) {
      return false;
    }
    for (v1::LayoutRow& row : rows) *report.add_layouts() = std::move(row);
    return true;
  }

 private:
  bool Time(const v1::MatrixShape& shape, Mode mode, std::vector<v1::LayoutRow>& rows) {
    PrepareProducts(environment_, mode);
    std::vector<TimedOperation> operations;
    std::vector<v1::LayoutRow*> timed;
    for (v1::LayoutRow& row : rows) {
      const Operands operands = MakeOperands(shape, mode, row.layout(), environment_.device);
      if (const auto wrong = ProductError(mode, operands, Multiply(mode, operands))) {
        row.set_note(absl::StrCat("WRONG: ", *wrong, "; not timed"));
        continue;
      }
      operations.emplace_back([operands, mode] { Multiply(mode, operands); });
      timed.push_back(&row);
    }
    const auto timings =
        TimeInTurn(operations, {.device = environment_.device, .rounds = rounds_}, environment_.clock, control_);
    if (!timings) return false;
    for (std::size_t i = 0; i < timed.size(); ++i) {
      const Timing& timing = (*timings)[i];
      timed[i]->set_median_seconds(timing.median_seconds);
      timed[i]->set_p95_seconds(timing.p95_seconds);
      if (timing.rounds < rounds_) {
        AddNote(absl::StrFormat("of %d rounds: more would take too long", timing.rounds), *timed[i]->mutable_note());
      }
    }
    return true;
  }

  const int rounds_;
  const StudyEnvironment& environment_;
  Control& control_;
};

const v1::LayoutRow* ContiguousOf(const v1::LayoutRow& row, const Report& report) {
  for (const v1::LayoutRow& other : report.layouts()) {
    const bool same = other.m() == row.m() && other.n() == row.n() && other.k() == row.k();
    if (same && other.precision() == row.precision() && other.layout() == Report::CONTIGUOUS) return &other;
  }
  return nullptr;
}

// The time that arithmetic or memory alone would take, whichever is longer, over the time that it took.
void SetRoofline(const v1::DevicePeak& peak, v1::LayoutRow& row) {
  if (!peak.has_tflops()) return;
  const double arithmetic = row.tflops() / peak.tflops();
  double memory = 0;
  if (peak.has_bytes_per_second()) {
    memory = BytesMoved(row.m(), row.n(), row.k(), row.precision()) / peak.bytes_per_second() / row.median_seconds();
  }
  if (memory > 1) {
    AddNote("operands stay in a cache, faster than the copy that was measured: the share is of arithmetic",
            *row.mutable_note());
    memory = 0;
  }
  row.set_roofline_share(std::max(arithmetic, memory));
}

// Of a row that is complete.
bool MeasuresLaunch(const v1::LayoutRow& row) { return row.has_median_seconds() && !row.has_tflops(); }

// What a layout cost at worst.
std::string LayoutText(Report::Layout layout, const Report& report) {
  const v1::LayoutRow* worst = nullptr;
  for (const v1::LayoutRow& row : report.layouts()) {
    if (row.layout() != layout || !row.has_slowdown()) continue;
    if (worst == nullptr || row.slowdown() > worst->slowdown()) worst = &row;
  }
  const std::string& name = Report::Layout_Name(layout);
  if (worst == nullptr) return absl::StrCat(name, " was not told apart from a call");
  if (worst->slowdown() <= kCost) {
    return absl::StrFormat("%s costs nothing here: at most %.2f times the contiguous time for %s", name,
                           worst->slowdown(), RowText(*worst));
  }
  return absl::StrFormat("%s takes up to %.2f times the contiguous time for %s", name, worst->slowdown(),
                         RowText(*worst));
}

}  // namespace

void CompleteLayouts(const CallSeconds& calls, Report& report) {
  for (v1::LayoutRow& row : *report.mutable_layouts()) {
    if (!row.has_median_seconds()) continue;
    SetThroughput(calls, *report.mutable_peaks(), row);
    if (row.p95_seconds() > kDisturbed * row.median_seconds()) {
      AddNote("times differ widely: something else may have run on the device", *row.mutable_note());
    }
  }
  // Once every peak is known.
  for (v1::LayoutRow& row : *report.mutable_layouts()) {
    if (!row.has_tflops()) continue;
    const v1::LayoutRow* contiguous = ContiguousOf(row, report);
    if (contiguous != nullptr && contiguous->has_tflops()) {
      row.set_slowdown(row.median_seconds() / contiguous->median_seconds());
    }
    if (const v1::DevicePeak* peak = FindPeak(report.peaks(), row.precision())) SetRoofline(*peak, row);
  }
}

std::string LayoutFinding(const Report& report) {
  int timed = 0, launches = 0, wrong = 0, disturbed = 0;
  const v1::LayoutRow* nearest = nullptr;
  for (const v1::LayoutRow& row : report.layouts()) {
    if (!row.has_median_seconds()) {
      wrong += row.note().rfind("WRONG", 0) == 0 ? 1 : 0;
      continue;
    }
    ++timed;
    launches += MeasuresLaunch(row) ? 1 : 0;
    disturbed += row.p95_seconds() > kDisturbed * row.median_seconds() ? 1 : 0;
    if (!row.has_roofline_share()) continue;
    if (nearest == nullptr || row.roofline_share() > nearest->roofline_share()) nearest = &row;
  }
  if (timed == 0) return "Nothing could be timed: the rows say why.";
  std::string finding;
  if (launches == timed) {
    finding = "Every row measures launches: larger shapes are needed to say anything of layouts.";
  } else {
    finding = absl::StrCat("Against a contiguous second operand, ", LayoutText(Report::TRANSPOSED, report), ", and ",
                           LayoutText(Report::STRIDED, report), ".");
    if (launches > 0) absl::StrAppend(&finding, " Of ", CountText(timed, "row"), ", ", launches, " measure launches.");
  }
  if (nearest != nullptr) {
    absl::StrAppend(&finding, " The best use of the device is ", PercentText(nearest->roofline_share()),
                    " of its roofline, for ", RowText(*nearest), ", ", Report::Layout_Name(nearest->layout()), ".");
  }
  if (disturbed > 0) absl::StrAppend(&finding, " In ", disturbed, " of ", timed, " rows times differ widely.");
  if (wrong > 0) absl::StrAppend(&finding, " Wrong, and not timed: ", CountText(wrong, "row"), ".");
  return finding;
}

absl::Status RunLayoutBenchmark(const v1::LayoutBenchmark& spec, const StudyEnvironment& environment,
                                StudyObserver& observer, v1::Report& report) {
  const ProductCases cases = {ShapesOf(spec, environment.device), ModesOf(spec)};
  Report& result = *report.mutable_layout_benchmark();
  LayoutRows rows(spec.has_rounds() ? spec.rounds() : kDefaultRounds, environment, observer);
  const auto add = [&](const v1::MatrixShape& shape, Mode mode) { return rows.Add(shape, mode, result); };
  const CallSeconds calls = RunProducts(cases, add, environment, observer, *result.mutable_peaks(), report);
  report.add_limits("Products are repeated on the same operands: small ones find them in a cache.");
  CompleteLayouts(calls, result);
  report.set_finding(LayoutFinding(result));
  return absl::OkStatus();
}

}  // namespace mantissa::trainer
