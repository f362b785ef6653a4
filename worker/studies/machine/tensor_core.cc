#include "worker/studies/machine/tensor_core.h"

#include <algorithm>
#include <optional>
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

// Padding that gains less than this is noise.
constexpr double kGain = 1.05;

v1::MatrixShape Cube(std::int32_t side) { return ShapeOf(side, side, side); }

std::vector<v1::MatrixShape> ShapesOf(const v1::TensorCore& spec, c10::Device device) {
  if (spec.shapes_size() > 0) return {spec.shapes().begin(), spec.shapes().end()};
  if (device.is_cpu()) return {Cube(128), Cube(127), Cube(512), Cube(511)};
  // The larger ones take a fast GPU longer than several launches.
  return {Cube(2048), Cube(2047), Cube(6144), Cube(6143)};
}

std::vector<Mode> ModesOf(const v1::TensorCore& spec, c10::Device device) {
  std::vector<Mode> modes;
  for (const int mode : spec.precisions()) modes.push_back(static_cast<Mode>(mode));
  if (!modes.empty()) return modes;
  modes = {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16};
  if (!device.is_cpu()) modes.insert(modes.begin() + 1, v1::PrecisionSpec::TF32);
  return modes;
}

// `x` with zeros below and to the right; the layout of a second operand, (n, k) in memory, stays.
at::Tensor Padded(const at::Tensor& x, std::int64_t rows, std::int64_t columns) {
  if (x.is_contiguous()) return at::constant_pad_nd(x, {0, columns - x.size(1), 0, rows - x.size(0)});
  return at::constant_pad_nd(x.t(), {0, rows - x.size(0), 0, columns - x.size(1)}).t();
}

// The product of the shape by way of the aligned one, with the copies that make and undo it.
at::Tensor MultiplyPadded(Mode mode, const Operands& operands, const v1::MatrixShape& aligned) {
  const Operands padded = {Padded(operands.a, aligned.m(), aligned.k()), Padded(operands.b, aligned.k(), aligned.n())};
  return Multiply(mode, padded).narrow(0, 0, operands.a.size(0)).narrow(1, 0, operands.b.size(1)).contiguous();
}

// One product as it is and padded. Lives as long as the study.
class ShapeRows {
 public:
  ShapeRows(int rounds, const StudyEnvironment& environment, Control& control)
      : rounds_(rounds), environment_(environment), control_(control) {}

  // False when a stop was requested; no row is added then.
  bool Add(const v1::MatrixShape& shape, Mode mode, v1::TensorCoreReport& report) {
    const v1::MatrixShape aligned = AlignedShape(shape, mode);
    v1::TensorCoreRow row;
    row.set_m(shape.m());
    row.set_n(shape.n());
    row.set_k(shape.k());
    row.set_precision(mode);
    row.set_aligned(aligned.m() == shape.m() && aligned.n() == shape.n() && aligned.k() == shape.k());
    std::optional<std::string> why = WhyNoProduct(environment_, mode);
    if (!why) why = WhyNoRoom(4 * BytesMoved(aligned.m(), aligned.n(), aligned.k(), mode), environment_);
    if (why) {
      row.set_note(*why);
    } else if (!Time(shape, aligned, row)) {
      return false;
    }
    *report.add_products() = std::move(row);
    return true;
  }

 private:
  bool Time(const v1::MatrixShape& shape, const v1::MatrixShape& aligned, v1::TensorCoreRow& row) {
    const Mode mode = row.precision();
    PrepareProducts(environment_, mode);
    // As a linear layer has it.
    const Operands operands = MakeOperands(shape, mode, v1::LayoutBenchmarkReport::TRANSPOSED, environment_.device);
    std::optional<std::string> wrong = ProductError(mode, operands, Multiply(mode, operands));
    if (!wrong && !row.aligned()) wrong = ProductError(mode, operands, MultiplyPadded(mode, operands, aligned));
    if (wrong) {
      row.set_note(absl::StrCat("WRONG: ", *wrong, "; not timed"));
      return true;
    }
    std::vector<TimedOperation> operations = {[&] { Multiply(mode, operands); }};
    if (!row.aligned()) operations.emplace_back([&] { MultiplyPadded(mode, operands, aligned); });
    const auto timings =
        TimeInTurn(operations, {.device = environment_.device, .rounds = rounds_}, environment_.clock, control_);
    if (!timings) return false;
    row.set_median_seconds(timings->front().median_seconds);
    if (!row.aligned()) row.set_padded_seconds(timings->back().median_seconds);
    if (timings->front().rounds < rounds_) {
      AddNote(absl::StrFormat("of %d rounds: more would take too long", timings->front().rounds), *row.mutable_note());
    }
    return true;
  }

  const int rounds_;
  const StudyEnvironment& environment_;
  Control& control_;
};

std::int32_t RoundUp(std::int32_t size, std::int32_t multiple) { return (size + multiple - 1) / multiple * multiple; }

std::string PaddingText(const v1::TensorCoreReport& report) {
  int unaligned = 0, pays = 0;
  const v1::TensorCoreRow* best = nullptr;
  for (const v1::TensorCoreRow& row : report.products()) {
    if (!row.has_padding_gain()) continue;
    ++unaligned;
    pays += row.padding_gain() > kGain ? 1 : 0;
    if (best == nullptr || row.padding_gain() > best->padding_gain()) best = &row;
  }
  if (best == nullptr) return "No unaligned product was measured, so nothing can be said of padding.";
  if (pays == 0) {
    return absl::StrFormat(
        "Padding does not pay in any of %d unaligned products, its copies included: at best %.2f times as fast, in %s.",
        unaligned, best->padding_gain(), RowText(*best));
  }
  return absl::StrFormat(
      "Padding pays in %d of %d unaligned products, its copies included: up to %.2f times as fast, in %s.", pays,
      unaligned, best->padding_gain(), RowText(*best));
}

}  // namespace

std::int32_t AlignmentOf(Mode mode) {
  constexpr std::int64_t kRowBytes = 16;
  return static_cast<std::int32_t>(kRowBytes / BytesOfElement(mode));
}

v1::MatrixShape AlignedShape(const v1::MatrixShape& shape, Mode mode) {
  const std::int32_t multiple = AlignmentOf(mode);
  return ShapeOf(RoundUp(shape.m(), multiple), RoundUp(shape.n(), multiple), RoundUp(shape.k(), multiple));
}

void CompleteTensorCores(const CallSeconds& calls, v1::TensorCoreReport& report) {
  for (v1::TensorCoreRow& row : *report.mutable_products()) {
    if (!row.has_median_seconds()) continue;
    if (!SetThroughput(calls, *report.mutable_peaks(), row)) continue;
    if (row.has_padded_seconds()) row.set_padding_gain(row.median_seconds() / row.padded_seconds());
  }
  // Once every peak is known.
  for (v1::TensorCoreRow& row : *report.mutable_products()) {
    const v1::DevicePeak* peak = FindPeak(report.peaks(), row.precision());
    if (row.has_tflops() && peak != nullptr && peak->has_tflops()) row.set_peak_share(row.tflops() / peak->tflops());
  }
}

std::string TensorCoreFinding(const v1::TensorCoreReport& report, bool has_tensor_cores) {
  const v1::TensorCoreRow* worst = nullptr;
  bool any = false, all_launches = true;
  for (const v1::TensorCoreRow& row : report.products()) {
    any |= row.has_median_seconds();
    if (!row.has_tflops()) continue;
    all_launches = false;
    if (row.has_peak_share() && (worst == nullptr || row.peak_share() < worst->peak_share())) worst = &row;
  }
  if (!any) return "Nothing could be timed: the rows say why.";
  if (all_launches) return "Every row measures launches: larger shapes are needed to say anything of padding.";
  std::string finding = PaddingText(report);
  if (worst != nullptr) {
    absl::StrAppend(&finding, " Farthest from its peak is ", RowText(*worst),
                    worst->aligned() ? ", which is aligned: " : ", which is not aligned: ",
                    PercentText(worst->peak_share()), " of it.");
  }
  if (!has_tensor_cores) absl::StrAppend(&finding, " This is true of this CPU's vector units, and of no tensor core.");
  return finding;
}

absl::Status RunTensorCore(const v1::TensorCore& spec, const StudyEnvironment& environment, StudyObserver& observer,
                           v1::Report& report) {
  const ProductCases cases = {ShapesOf(spec, environment.device), ModesOf(spec, environment.device)};
  v1::TensorCoreReport& result = *report.mutable_tensor_core();
  ShapeRows rows(spec.has_rounds() ? spec.rounds() : kDefaultRounds, environment, observer);
  const auto add = [&](const v1::MatrixShape& shape, Mode mode) { return rows.Add(shape, mode, result); };
  const CallSeconds calls = RunProducts(cases, add, environment, observer, *result.mutable_peaks(), report);
  if (environment.device.is_cpu()) {
    report.add_limits(
        "A CPU has no tensor cores: whether a shape fits those of a GPU, and what padding gains there, cannot be told "
        "from this run.");
  }
  CompleteTensorCores(calls, result);
  report.set_finding(TensorCoreFinding(result, !environment.device.is_cpu()));
  return absl::OkStatus();
}

}  // namespace mantissa::trainer
