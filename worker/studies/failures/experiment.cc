#include "worker/studies/failures/experiment.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace mantissa::trainer {
namespace {

using Outcome = v1::FailureModesReport;

bool AsGood(const Experiment& experiment, double number) {
  if (!std::isfinite(number)) return false;
  const double above = number - experiment.reference;
  return experiment.only_above ? above <= experiment.tolerance : std::abs(above) <= experiment.tolerance;
}

std::string WhatHappened(const Experiment& experiment, Outcome::Outcome outcome) {
  const std::string& mode = v1::PrecisionSpec::Mode_Name(experiment.precision);
  const std::string numbers = absl::StrFormat("%s; %s: %.3g in FP32, %.3g in %s", experiment.setting,
                                              experiment.quantity, experiment.reference, experiment.low, mode);
  if (!std::isfinite(experiment.reference)) return numbers + ". FP32 fails, too, so that nothing is told apart.";
  if (outcome == Outcome::NOT_SHOWN) return numbers + ". It did not fail here.";
  return absl::StrCat(numbers, ". Why: ", experiment.cause, ".");
}

std::string RemedyText(const Experiment& experiment, Outcome::Outcome outcome) {
  const std::string numbers = absl::StrFormat("%s: %.3g", experiment.remedy, experiment.remedied);
  switch (outcome) {
    case Outcome::REMEDIED:
      return numbers + ", as good as FP32.";
    case Outcome::NOT_REMEDIED:
      return numbers + ", which does not put it right.";
    default:
      return numbers + "; it was not needed.";
  }
}

std::string ModesText(const std::vector<std::string>& modes) { return absl::StrJoin(modes, ", "); }

}  // namespace

Outcome::Outcome Judge(const Experiment& experiment) {
  if (!std::isfinite(experiment.reference) || AsGood(experiment, experiment.low)) return Outcome::NOT_SHOWN;
  return AsGood(experiment, experiment.remedied) ? Outcome::REMEDIED : Outcome::NOT_REMEDIED;
}

v1::FailureRow RowOf(const Experiment& experiment) {
  const Outcome::Outcome outcome = Judge(experiment);
  v1::FailureRow row;
  row.set_mode(experiment.mode);
  row.set_precision(experiment.precision);
  row.set_outcome(outcome);
  row.set_quantity(experiment.quantity);
  row.set_reference(experiment.reference);
  row.set_low(experiment.low);
  row.set_remedied(experiment.remedied);
  row.set_what_happened(WhatHappened(experiment, outcome));
  row.set_remedy(RemedyText(experiment, outcome));
  return row;
}

std::string FailureFinding(const v1::FailureModesReport& report) {
  std::vector<std::string> remedied, not_remedied, not_shown, unsupported;
  for (const v1::FailureRow& row : report.modes()) {
    const std::string& name = v1::FailureModes::Mode_Name(row.mode());
    if (row.outcome() == Outcome::REMEDIED) remedied.push_back(name);
    if (row.outcome() == Outcome::NOT_REMEDIED) not_remedied.push_back(name);
    if (row.outcome() == Outcome::NOT_SHOWN) not_shown.push_back(name);
    if (row.outcome() == Outcome::UNSUPPORTED) unsupported.push_back(name);
  }
  const std::size_t failed = remedied.size() + not_remedied.size();
  std::string finding = absl::StrCat(failed, " of ", report.modes_size(), " failed here.");
  if (!remedied.empty()) absl::StrAppend(&finding, " Put right by their remedies: ", ModesText(remedied), ".");
  if (!not_remedied.empty()) {
    absl::StrAppend(&finding, " Not put right by their remedies: ", ModesText(not_remedied), ".");
  }
  if (!not_shown.empty()) absl::StrAppend(&finding, " Did not fail with these numbers: ", ModesText(not_shown), ".");
  if (!unsupported.empty()) absl::StrAppend(&finding, " Not run: ", ModesText(unsupported), ".");
  return finding;
}

}  // namespace mantissa::trainer
