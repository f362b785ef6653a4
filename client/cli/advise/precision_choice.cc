#include "client/cli/advise/precision_choice.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/output/number_text.h"
#include "proto/spec/study_report.h"

namespace mantissa::cli {
namespace {

using Comparison = v1::PrecisionComparisonReport;
using Mode = v1::PrecisionSpec;

// As PrecisionStats calls a run UNSTABLE.
constexpr double kMostSkipped = 0.05;

bool TrainsAsFp32(const v1::PrecisionRow& row) {
  return row.verdict() == Comparison::REFERENCE || row.verdict() == Comparison::WITHIN_NOISE;
}

}  // namespace

double LateSkips(const v1::ScalerRow& row) {
  const std::int32_t late = row.skipped_iterations() - row.calibration_iterations();
  const std::int32_t iterations = row.iterations() - row.calibration_iterations();
  return late > 0 && iterations > 0 ? static_cast<double>(late) / iterations : 0;
}

std::string WhyScaleIsUnstable(const StudyFindings& findings, v1::LossScaleSpec::Preset preset) {
  const v1::PrecisionRow* compared = findings.RowOf(Mode::FP16);
  if (compared != nullptr && compared->verdict() == Comparison::FAILED) {
    return absl::StrCat("FP16 failed (", compared->note(), ")");
  }
  if (const v1::ScalerRow* row = findings.RowOf(preset); row != nullptr) {
    if (!row->has_calibration_iterations()) {
      return absl::StrCat("the loss scale had not settled after ", row->iterations(), " iterations");
    }
    if (LateSkips(*row) <= kMostSkipped) return "";
    return absl::StrCat("once it had settled, the loss scale skipped ", ShortNumber(100 * LateSkips(*row)),
                        " % of the iterations");
  }
  if (compared == nullptr || compared->skipped_share() <= kMostSkipped) return "";
  return absl::StrCat("FP16 skipped ", ShortNumber(100 * compared->skipped_share()), " % of its iterations");
}

v1::LossScaleSpec::Preset PresetOf(const v1::PrecisionSpec& precision) {
  const v1::LossScaleSpec::Preset preset = precision.loss_scale().preset();
  return preset == v1::LossScaleSpec::PRESET_UNSPECIFIED ? v1::LossScaleSpec::TORCH : preset;
}

std::vector<SpecChange> ModeChanges(const v1::PrecisionSpec& precision, v1::PrecisionSpec::Mode mode) {
  const auto name = [](int value) { return Mode::Mode_Name(static_cast<Mode::Mode>(value)); };
  std::vector<SpecChange> changes = {{"training.precision.mode", name(precision.mode()), name(mode)}};
  std::vector<std::string> before;
  std::vector<std::string> after;
  for (const int fallback : precision.fallback()) {
    before.push_back(name(fallback));
    if (fallback != mode) after.push_back(name(fallback));
  }
  const auto list = [](const std::vector<std::string>& names) {
    return absl::StrCat("[", absl::StrJoin(names, ", "), "]");
  };
  if (after.size() < before.size()) changes.push_back({"training.precision.fallback", list(before), list(after)});
  if (after.empty() && !before.empty() && precision.on_failure() == Mode::FALLBACK) {
    changes.push_back({"training.precision.on_failure", "FALLBACK", "FAIL"});
  }
  if (precision.storage() == Mode::MASTER_FP32 && mode != Mode::FP16 && mode != Mode::BF16) {
    changes.push_back({"training.precision.storage", "MASTER_FP32", "FP32_PARAMETERS"});
  }
  for (int i = 0; i < precision.overrides_size(); ++i) {
    if (mode == Mode::FP16 || precision.overrides(i).compute() != Mode::FP16) continue;
    changes.push_back({absl::StrCat("training.precision.overrides[", i, "].compute"), "FP16", name(mode)});
  }
  return changes;
}

v1::PrecisionSpec::Mode BestMode(const v1::TrainingSpec& training, const StudyFindings& findings) {
  const v1::PrecisionSpec::Mode now = training.precision().mode();
  const bool unstable = !WhyScaleIsUnstable(findings, PresetOf(training.precision())).empty();
  const v1::PrecisionRow* bf16 = findings.RowOf(Mode::BF16);
  // BF16 that was not compared, or with one seed, is worth a try; one that was seen to be bad is not.
  const bool bf16_is_bad = bf16 != nullptr && !TrainsAsFp32(*bf16) && bf16->verdict() != Comparison::UNDECIDED;
  const v1::PrecisionSpec::Mode steady = bf16_is_bad ? Mode::FP32 : Mode::BF16;
  const bool known = findings.comparison() != nullptr && findings.comparison()->recommended() != Mode::MODE_UNSPECIFIED;
  const v1::PrecisionSpec::Mode best = known ? findings.comparison()->recommended() : now;
  if (best == Mode::FP16 && unstable) return steady;
  if (best == now) return now;
  const v1::PrecisionRow* of_now = findings.RowOf(now);
  const v1::PrecisionRow* of_best = findings.RowOf(best);
  // A change that gains nothing that can be told is none, but away from a loss scale.
  const bool as_good = of_now != nullptr && of_best != nullptr && TrainsAsFp32(*of_now) && of_now->has_speedup() &&
                       !spec::AreToldApart(*of_now, *of_best);
  return as_good && now != Mode::FP16 ? now : best;
}

}  // namespace mantissa::cli
