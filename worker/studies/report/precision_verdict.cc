#include "worker/studies/report/precision_verdict.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "proto/spec/study_report.h"
#include "worker/studies/report/number_text.h"
#include "worker/studies/sample_statistics.h"

namespace mantissa::trainer {
namespace {

using Report = v1::PrecisionComparisonReport;

std::string NameOf(v1::PrecisionSpec::Mode mode) { return v1::PrecisionSpec::Mode_Name(mode); }

// Mean of |a - b|.
double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  const std::size_t count = std::min(a.size(), b.size());
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += std::fabs(a[i] - b[i]);
  return sum / static_cast<double>(count);
}

// How far apart FP32's seeds are, by both measures.
struct Noise {
  double of_losses = 0;
  double of_means = 0;
};

std::optional<Noise> NoiseOf(const std::vector<ComparedRun>& runs) {
  if (runs.size() < 2) return std::nullopt;
  Noise noise;
  std::int64_t pairs = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::size_t j = i + 1; j < runs.size(); ++j) {
      noise.of_losses += Distance(runs[i].last_quarter, runs[j].last_quarter);
      noise.of_means += std::fabs(Mean(runs[i].last_quarter) - Mean(runs[j].last_quarter));
      ++pairs;
    }
  }
  return Noise{noise.of_losses / static_cast<double>(pairs), noise.of_means / static_cast<double>(pairs)};
}

// How many of the runs failed, and how the first of them did; empty: none.
std::string FailureOf(const std::vector<ComparedRun>& runs) {
  std::string first;
  std::int64_t failed = 0;
  for (const ComparedRun& run : runs) {
    std::string failure = run.failure;
    const bool finite = !run.last_quarter.empty() && std::isfinite(Mean(run.last_quarter));
    if (failure.empty() && !finite) failure = "the loss of its last quarter is not finite";
    if (failure.empty()) continue;
    if (failed++ == 0) first = absl::StrCat("seed ", run.seed, ": ", failure);
  }
  if (failed == 0) return "";
  return absl::StrCat(failed, " of ", CountText(static_cast<long>(runs.size()), "run"), " failed; ", first);
}

void AddNote(const std::string& note, v1::PrecisionRow& row) {
  if (!note.empty()) row.set_note(row.note().empty() ? note : absl::StrCat(row.note(), "; ", note));
}

void DescribeTimes(const std::vector<ComparedRun>& runs, std::int64_t samples, v1::PrecisionRow& row) {
  std::vector<double> seconds;
  for (const ComparedRun& run : runs) seconds.insert(seconds.end(), run.seconds.begin(), run.seconds.end());
  if (seconds.empty()) {
    AddNote("no iteration is left to be timed; train longer, or with fewer warm_up_iterations", row);
    return;
  }
  row.set_median_seconds(Quantile(seconds, 0.5));
  row.set_p95_seconds(Quantile(seconds, 0.95));
  row.set_samples_per_second(static_cast<double>(samples) / row.median_seconds());
}

// Of each seed FP32's median over this one's: a seed's runs were timed in turn. Means and intervals are of logarithms,
// as is right for ratios.
void DescribeSpeedup(const std::vector<ComparedRun>& reference, const std::vector<ComparedRun>& runs,
                     v1::PrecisionRow& row) {
  std::vector<double> logarithms;
  for (std::size_t i = 0; i < std::min(reference.size(), runs.size()); ++i) {
    if (reference[i].seconds.empty() || runs[i].seconds.empty()) continue;
    logarithms.push_back(std::log(Quantile(reference[i].seconds, 0.5) / Quantile(runs[i].seconds, 0.5)));
  }
  if (logarithms.empty()) return;
  row.set_speedup(std::exp(Mean(logarithms)));
  if (const auto interval = MeanInterval(logarithms); interval && &reference != &runs) {
    row.set_speedup_low(std::exp(interval->low));
    row.set_speedup_high(std::exp(interval->high));
  }
}

void DescribeLosses(const std::vector<ComparedRun>& runs, v1::PrecisionRow& row) {
  std::vector<double> losses;
  std::vector<double> evaluations;
  std::int64_t iterations = 0;
  std::int64_t skipped = 0;
  for (const ComparedRun& run : runs) {
    if (run.failure.empty() && !run.last_quarter.empty()) losses.push_back(Mean(run.last_quarter));
    if (run.eval_loss) evaluations.push_back(*run.eval_loss);
    iterations += run.iterations;
    skipped += run.skipped;
  }
  if (!losses.empty()) row.set_loss(Mean(losses));
  if (!evaluations.empty()) row.set_eval_loss(Mean(evaluations));
  if (iterations > 0) row.set_skipped_share(static_cast<double>(skipped) / static_cast<double>(iterations));
}

// Whether every seed's loss moved to one side, so that no single seed makes the mean: one iteration that goes wrong, as
// happens in any precision, weighs more than all the others of its run.
bool AreOfOneSide(const std::vector<double>& shifts) {
  const std::optional<Interval> interval = MeanInterval(shifts);
  return !interval || interval->low > 0 || interval->high < 0;
}

// Of a precision that has not failed, against an FP32 that has not.
Report::Verdict Judge(const std::vector<ComparedRun>& reference, const std::vector<ComparedRun>& runs,
                      const std::optional<Noise>& noise, v1::PrecisionRow& row) {
  std::vector<double> distances;
  std::vector<double> shifts;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    distances.push_back(Distance(runs[i].last_quarter, reference[i].last_quarter));
    shifts.push_back(Mean(runs[i].last_quarter) - Mean(reference[i].last_quarter));
  }
  row.set_distance(Mean(distances));
  if (const auto interval = MeanInterval(distances)) {
    row.set_distance_low(std::max(0.0, interval->low));
    row.set_distance_high(interval->high);
  }
  if (!noise) return Report::UNDECIDED;
  const double shift = Mean(shifts);
  if (row.distance() > noise->of_losses) return Report::DIFFERENT;
  if (std::fabs(shift) <= noise->of_means || !AreOfOneSide(shifts)) return Report::WITHIN_NOISE;
  AddNote(absl::StrFormat("its mean loss lies %.3g %s FP32's, and those of FP32's seeds %.3g from each other",
                          std::fabs(shift), shift > 0 ? "above" : "below", noise->of_means),
          row);
  return Report::DIFFERENT;
}

std::string SpeedText(const v1::PrecisionRow& row) {
  std::string text = absl::StrFormat("%.3g times FP32's speed", row.speedup());
  if (row.has_speedup_low()) {
    absl::StrAppendFormat(&text, " (95 %% interval %.3g to %.3g)", row.speedup_low(), row.speedup_high());
  }
  return text;
}

// FP16 has 5 bits of exponent; the others have FP32's 8.
bool NeedsScale(const v1::PrecisionRow& row) { return row.precision() == v1::PrecisionSpec::FP16; }

// Why a row is not the one to choose.
std::string WhyNot(const v1::PrecisionRow& row, const v1::PrecisionRow& chosen) {
  const std::string name = NameOf(row.precision());
  switch (row.verdict()) {
    case Report::DIFFERENT:
      // Else it is its mean loss that lies apart, and the note says so.
      if (row.distance() <= row.noise()) return absl::StrCat(name, " trains to another loss: ", row.note());
      return absl::StrFormat("%s trains to another loss: %.3g from FP32's, where FP32's seeds are %.3g from each other",
                             name, row.distance(), row.noise());
    case Report::FAILED:
    case Report::UNSUPPORTED:
      return absl::StrCat(name, row.verdict() == Report::FAILED ? " failed: " : " is not supported: ", row.note());
    default:
      if (!row.has_speedup()) return absl::StrCat(name, " was not timed");
      if (!spec::AreToldApart(row, chosen)) {
        const std::string best = NameOf(chosen.precision());
        return absl::StrFormat(
            "%s is not told apart in speed from %s, %s against %.3g%s", name, best, SpeedText(row), chosen.speedup(),
            NeedsScale(row) ? absl::StrCat(", and needs a loss scale, which ", best, " does not") : "");
      }
      return absl::StrFormat("%s is slower: %s against %.3g", name, SpeedText(row), chosen.speedup());
  }
}

bool IsCandidate(const v1::PrecisionRow& row) {
  return (row.verdict() == Report::REFERENCE || row.verdict() == Report::WITHIN_NOISE) && row.has_speedup();
}

// The fastest of the candidates, FP32 among them.
const v1::PrecisionRow& BestOf(const Report& report) {
  const v1::PrecisionRow* best = &report.precisions(0);
  for (const v1::PrecisionRow& row : report.precisions()) {
    if (IsCandidate(row) && row.speedup() > best->speedup()) best = &row;
  }
  if (!NeedsScale(*best)) return *best;
  const v1::PrecisionRow* simpler = nullptr;
  for (const v1::PrecisionRow& row : report.precisions()) {
    if (!IsCandidate(row) || NeedsScale(row) || spec::AreToldApart(row, *best)) continue;
    if (simpler == nullptr || row.speedup() > simpler->speedup()) simpler = &row;
  }
  return simpler != nullptr ? *simpler : *best;
}

void Recommend(Report& report) {
  const v1::PrecisionRow& reference = report.precisions(0);
  if (reference.verdict() == Report::FAILED) {
    report.add_reasons(absl::StrCat("FP32 itself failed, so there is nothing to compare with: ", reference.note()));
    return;
  }
  if (reference.verdict() == Report::UNDECIDED) {
    report.add_reasons(reference.note());
    return;
  }
  if (!reference.has_noise()) {
    report.add_reasons("with one seed there is no noise to compare with; run it with two or more seeds");
    return;
  }
  if (!reference.has_speedup()) {
    report.add_reasons("nothing was timed; train longer, or with fewer warm_up_iterations");
    return;
  }
  const v1::PrecisionRow* best = &BestOf(report);
  report.set_recommended(best->precision());
  const bool fastest = std::all_of(report.precisions().begin(), report.precisions().end(), [&](const auto& row) {
    return !IsCandidate(row) || row.speedup() <= best->speedup();
  });
  if (best == &reference) {
    report.add_reasons(absl::StrCat("no precision that trains as FP32 does is faster than FP32 here",
                                    fastest ? "" : " by more than the intervals"));
  } else {
    report.add_reasons(
        absl::StrFormat("%s trains as FP32 does: its losses are %.3g from FP32's, whose seeds are %.3g "
                        "from each other",
                        NameOf(best->precision()), best->distance(), best->noise()));
    report.add_reasons(
        absl::StrCat(fastest ? "it is the fastest of those: " : "none of those is faster by more than the intervals: ",
                     SpeedText(*best)));
    if (best->has_speedup_low() && best->speedup_low() <= 1) {
      report.add_reasons("its interval holds 1, so with these seeds its gain in speed is not certain");
    }
  }
  for (const v1::PrecisionRow& row : report.precisions()) {
    if (&row != best && &row != &reference) report.add_reasons(WhyNot(row, *best));
  }
}

}  // namespace

void Compare(const std::vector<ComparedPrecision>& precisions, std::int64_t samples, Report& report) {
  const std::vector<ComparedRun>& reference = precisions.front().runs;
  const bool reference_failed = !precisions.front().failure.empty() || !FailureOf(reference).empty();
  const std::optional<Noise> noise = reference_failed ? std::nullopt : NoiseOf(reference);
  for (const ComparedPrecision& precision : precisions) {
    v1::PrecisionRow& row = *report.add_precisions();
    row.set_precision(precision.mode);
    AddNote(precision.note, row);
    if (!precision.unsupported.empty()) {
      row.set_verdict(Report::UNSUPPORTED);
      AddNote(precision.unsupported, row);
      continue;
    }
    if (!precision.failure.empty()) {
      row.set_verdict(Report::FAILED);
      AddNote(precision.failure, row);
      continue;
    }
    if (precision.runs.empty()) {
      row.set_verdict(Report::UNDECIDED);
      AddNote("no seed was done before the study was stopped", row);
      continue;
    }
    if (noise) row.set_noise(noise->of_losses);
    DescribeTimes(precision.runs, samples, row);
    DescribeSpeedup(reference, precision.runs, row);
    DescribeLosses(precision.runs, row);
    const std::string failure = FailureOf(precision.runs);
    AddNote(failure, row);
    if (!failure.empty()) {
      row.set_verdict(Report::FAILED);
    } else if (precision.mode == v1::PrecisionSpec::FP32) {
      row.set_verdict(Report::REFERENCE);
    } else if (reference_failed) {
      row.set_verdict(Report::UNDECIDED);
      AddNote("FP32 failed, so there is nothing to compare with", row);
    } else {
      row.set_verdict(Judge(reference, precision.runs, noise, row));
    }
  }
  Recommend(report);
}

std::string ComparisonFinding(const Report& report, std::int64_t seeds) {
  std::vector<std::string> rows;
  for (const v1::PrecisionRow& row : report.precisions()) {
    if (row.precision() == v1::PrecisionSpec::FP32) continue;
    std::string text = absl::StrCat(NameOf(row.precision()), " ", Report::Verdict_Name(row.verdict()));
    if (row.has_distance()) absl::StrAppendFormat(&text, " at a distance of %.3g", row.distance());
    if (row.has_distance() && row.has_noise()) absl::StrAppendFormat(&text, " (noise %.3g)", row.noise());
    // How fast it went until it failed is of no use to anybody.
    if (row.has_speedup() && row.verdict() != Report::FAILED) {
      absl::StrAppendFormat(&text, ", %.3g times as fast", row.speedup());
    }
    rows.push_back(std::move(text));
  }
  std::string finding =
      absl::StrCat("Over ", CountText(static_cast<long>(seeds), "seed"),
                   " and against FP32: ", rows.empty() ? "nothing else was compared" : absl::StrJoin(rows, "; "), ".");
  if (report.recommended() == v1::PrecisionSpec::MODE_UNSPECIFIED) {
    absl::StrAppend(&finding, " No precision can be recommended: ");
  } else {
    absl::StrAppend(&finding, " Train in ", NameOf(report.recommended()), ": ");
  }
  absl::StrAppend(&finding, report.reasons_size() > 0 ? report.reasons(0) : std::string("nothing was measured"), ".");
  return finding;
}

}  // namespace mantissa::trainer
