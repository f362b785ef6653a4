// What the runs of a study train on: read, checked and moved to the device once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "mantissa/v1/training.pb.h"
#include "worker/data/load_data.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

struct StudyTraining {
  v1::TrainingSpec spec;  // with the accumulation that was chosen
  TrainingData data;
  std::int64_t iterations = 0;  // of each run
  std::int32_t threads = 1;

  const spec::SampleShape& sample() const { return data.train->shape().sample; }
};

// What checks a training calls its fields as those of a job's, `training.batch_size`: the same status with them below
// `path`, its reason kept.
absl::Status Below(std::string_view path, const absl::Status& status);

// `spec` is valid, with its defaults. Errors name its field below `path` (`study.scaler_study.training`) and carry
// their reason. Waits for the files; what does not fit the device in FP32 is refused.
absl::StatusOr<StudyTraining> PrepareTraining(const v1::TrainingSpec& spec, std::string_view path,
                                              const StudyEnvironment& environment);

// With its defaults, as a job of its own has them.
v1::TrainingSpec WithDefaults(const v1::TrainingSpec& training);

// The same training in another precision. In FP32 it is FP32 throughout: overrides and low storage are not read.
v1::TrainingSpec InPrecision(const v1::TrainingSpec& spec, v1::PrecisionSpec::Mode mode);

// Why the device cannot run this training in `mode`, as a note for a row: empty where it can, by emulation too.
std::string WhyUnsupported(const v1::TrainingSpec& spec, v1::PrecisionSpec::Mode mode,
                           const StudyEnvironment& environment);

}  // namespace mantissa::trainer
