// A spec with every default written out: what an attempt runs, so that a release with other defaults never changes a
// job that is queued.
#pragma once

#include <chrono>
#include <cstdint>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::spec {

// Fills every absent field that has a default, as the comments in the .proto files say; what was given stays as it is,
// wrong values included. Resolving twice changes nothing. Left absent, because only the trainer can know them from the
// data: `idx.classes`, and `evaluation.every_steps` where the length is in epochs of files (EvaluationInterval); and
// from its device: what a study compares where its default differs on a GPU. Of the training spec of a study, fields
// that the study does not read stay as they are.
v1::JobSpec ResolveDefaults(const v1::JobSpec& spec);

// The same of a training spec by itself, in its place.
void ResolveTraining(v1::TrainingSpec& training);

// Applied steps between evaluations where the spec leaves it open: about ten over the run.
std::int32_t EvaluationInterval(std::int64_t total_iterations);

// Windows in one pass over `samples`; a last one with fewer samples counts.
std::int64_t IterationsPerEpoch(std::int64_t samples, std::int32_t batch_size);

// The length of the run where the spec says it, 0 where the data must be read first.
std::int64_t KnownIterations(const v1::TrainingSpec& training);

// What a preset sets; every field is filled.
v1::LossScaleSpec LossScalePreset(v1::LossScaleSpec::Preset preset);

// How long an attempt may take to start, and be silent, where the spec does not say it.
inline constexpr std::chrono::seconds kDefaultStart{60}, kDefaultStall{300};

// Rollbacks of a job whose spec does not say it.
inline constexpr std::int32_t kDefaultMaxRollbacks = 3;

// What happens when precision fails, where the spec does not say it.
v1::PrecisionSpec::OnFailure DefaultOnFailure(const v1::PrecisionSpec& precision);

}  // namespace mantissa::spec
