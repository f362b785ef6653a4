// What goes wrong in low precision, one experiment after another.
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"

#include "worker/studies/failures/experiment.h"
#include "worker/studies/failures/failing_models.h"
#include "worker/studies/failures/failing_numbers.h"
#include "worker/studies/machine/product.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {
namespace {

using Modes = v1::FailureModes;

std::vector<Modes::Mode> ModesOf(const Modes& spec) {
  std::vector<Modes::Mode> modes;
  for (const int mode : spec.modes()) modes.push_back(static_cast<Modes::Mode>(mode));
  if (modes.empty()) {
    modes = {Modes::PATHOLOGICAL_MODEL, Modes::SMALL_MODEL_OVERHEAD, Modes::SOFTMAX_OVERFLOW,   Modes::LARGE_REDUCTION,
             Modes::SMALL_EPSILON,      Modes::LOST_UPDATES,         Modes::EMBEDDING_GRADIENTS};
  }
  return modes;
}

v1::PrecisionSpec::Mode PrecisionOf(Modes::Mode mode) {
  const bool bfloat = mode == Modes::LOST_UPDATES || mode == Modes::SMALL_MODEL_OVERHEAD;
  return bfloat ? v1::PrecisionSpec::BF16 : v1::PrecisionSpec::FP16;
}

// Nothing when a stop was requested.
absl::StatusOr<std::optional<Experiment>> Perform(Modes::Mode mode, std::uint64_t seed,
                                                  const StudyEnvironment& environment, Control& control) {
  switch (mode) {
    case Modes::PATHOLOGICAL_MODEL: {
      auto experiment = PathologicalModel(seed, environment);
      if (!experiment.ok()) return experiment.status();
      return *std::move(experiment);
    }
    case Modes::SMALL_MODEL_OVERHEAD:
      return SmallModelOverhead(seed, environment, control);
    case Modes::SOFTMAX_OVERFLOW:
      return SoftmaxOverflow(seed, environment.device);
    case Modes::LARGE_REDUCTION:
      return LargeReduction(seed, environment.device);
    case Modes::SMALL_EPSILON:
      return SmallEpsilon(seed, environment.device);
    case Modes::LOST_UPDATES:
      return LostUpdates(seed, environment.device);
    case Modes::EMBEDDING_GRADIENTS:
      return EmbeddingGradients(seed, environment.device);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("study.failure_modes.modes: ", static_cast<int>(mode), " is none; see mantissa explain"));
  }
}

}  // namespace

absl::Status RunFailureModes(const v1::FailureModes& spec, const StudyEnvironment& environment, StudyObserver& observer,
                             v1::Report& report) {
  const std::vector<Modes::Mode> modes = ModesOf(spec);
  const std::int32_t total = static_cast<std::int32_t>(modes.size());
  observer.Done(0, total, "");
  v1::FailureModesReport& result = *report.mutable_failure_modes();
  for (const Modes::Mode mode : modes) {
    v1::FailureRow row;
    if (const auto why = WhyNoProduct(environment, PrecisionOf(mode))) {
      row.set_mode(mode);
      row.set_precision(PrecisionOf(mode));
      row.set_outcome(v1::FailureModesReport::UNSUPPORTED);
      row.set_note(*why);
    } else {
      if (observer.stop_requested()) break;
      auto experiment = Perform(mode, spec.seed(), environment, observer);
      if (!experiment.ok()) return experiment.status();
      if (!*experiment) break;
      row = RowOf(**experiment);
    }
    *result.add_modes() = row;
    observer.Done(result.modes_size(), total,
                  absl::StrCat(Modes::Mode_Name(mode), ": ", v1::FailureModesReport::Outcome_Name(row.outcome())));
  }
  if (result.modes_size() < total) {
    report.set_partial(true);
    report.add_limits(absl::StrCat("The study was stopped after ", result.modes_size(), " of ", total, "."));
  }
  report.add_limits("The models and numbers are made to fail; whether yours do is not said.");
  report.set_finding(FailureFinding(result));
  return absl::OkStatus();
}

}  // namespace mantissa::trainer
