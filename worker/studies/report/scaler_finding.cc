#include "worker/studies/report/scaler_finding.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "worker/studies/report/number_text.h"

namespace mantissa::trainer {
namespace {

std::string NamesOf(const std::vector<const v1::ScalerRow*>& rows) {
  return absl::StrJoin(rows, ", ", [](std::string* out, const v1::ScalerRow* row) {
    absl::StrAppend(out, v1::LossScaleSpec::Preset_Name(row->preset()));
  });
}

// Those of the rows that `holds` is true of.
template <class Holds>
std::vector<const v1::ScalerRow*> Those(const v1::ScalerStudyReport& report, Holds holds) {
  std::vector<const v1::ScalerRow*> rows;
  for (const v1::ScalerRow& row : report.presets()) {
    if (holds(row)) rows.push_back(&row);
  }
  return rows;
}

// Of those that reached the end: one that failed early has skipped few, and is no better for it.
std::string SkipSentence(const v1::ScalerStudyReport& report, std::int64_t iterations) {
  const auto is_whole = [&](const v1::ScalerRow& row) { return row.iterations() >= iterations; };
  const std::vector<const v1::ScalerRow*> rows = Those(report, is_whole);
  if (rows.empty()) return "No preset reached the end.";
  const auto [fewest, most] = std::minmax_element(rows.begin(), rows.end(), [](const auto* a, const auto* b) {
    return a->skipped_iterations() < b->skipped_iterations();
  });
  const auto with = [&](std::int32_t skips) {
    return NamesOf(
        Those(report, [&](const v1::ScalerRow& row) { return is_whole(row) && row.skipped_iterations() == skips; }));
  };
  const std::int32_t least = (*fewest)->skipped_iterations();
  const std::int32_t greatest = (*most)->skipped_iterations();
  if (least == greatest) {
    return absl::StrCat(rows.size() > 1 ? "All presets" : "The preset",
                        static_cast<int>(rows.size()) < report.presets_size() ? " that reached the end" : "",
                        " skipped ", CountText(least, "iteration"), ".");
  }
  return absl::StrFormat("%s skipped the fewest iterations, %d; %s the most, %d.", with(least), least, with(greatest),
                         greatest);
}

std::string LossSentence(const v1::ScalerStudyReport& report) {
  std::vector<const v1::ScalerRow*> rows = Those(report, [](const v1::ScalerRow& row) { return row.has_loss(); });
  if (rows.size() < 2) return "";
  const auto [lowest, highest] =
      std::minmax_element(rows.begin(), rows.end(), [](const auto* a, const auto* b) { return a->loss() < b->loss(); });
  const auto text = [](const v1::ScalerRow& row) { return absl::StrFormat("%.4g", row.loss()); };
  const std::string least = text(**lowest);
  const std::string most = text(**highest);
  if (least == most) return absl::StrCat(" Each loss came to ", least, ".");
  // Of presets that did the same, none is better.
  const auto with = [&](const std::string& loss) {
    return NamesOf(Those(report, [&](const v1::ScalerRow& row) { return row.has_loss() && text(row) == loss; }));
  };
  return absl::StrCat(" Losses came to between ", least, " (", with(least), ") and ", most, " (", with(most), ").");
}

}  // namespace

std::string ScalerFinding(const v1::ScalerStudyReport& report, std::int64_t iterations) {
  if (report.presets_size() == 0) return "It was stopped before a run was whole.";
  std::string finding = SkipSentence(report, iterations);
  const auto unsettled = Those(report, [](const v1::ScalerRow& row) { return !row.has_calibration_iterations(); });
  if (unsettled.empty()) {
    absl::StrAppend(&finding, " The scale of each had settled by the end.");
  } else {
    absl::StrAppend(&finding, " Not settled by the end: ", NamesOf(unsettled), ".");
  }
  const auto failed = Those(report, [&](const v1::ScalerRow& row) { return row.iterations() < iterations; });
  if (!failed.empty()) absl::StrAppend(&finding, " Failed before the end: ", NamesOf(failed), ".");
  return absl::StrCat(finding, LossSentence(report));
}

}  // namespace mantissa::trainer
