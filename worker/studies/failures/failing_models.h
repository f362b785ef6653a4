// Failures of whole models: a few iterations on the engine that trains.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"

#include "worker/studies/failures/experiment.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

absl::StatusOr<Experiment> PathologicalModel(std::uint64_t seed, const StudyEnvironment& environment);

// Nothing when a stop was requested. Its numbers are times, and differ from run to run.
absl::StatusOr<std::optional<Experiment>> SmallModelOverhead(std::uint64_t seed, const StudyEnvironment& environment,
                                                             Control& control);

}  // namespace mantissa::trainer
