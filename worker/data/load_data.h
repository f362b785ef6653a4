// From a spec's data to data sets.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

#include "mantissa/v1/training.pb.h"
#include "process/roots.h"
#include "worker/data/dataset.h"

namespace mantissa::trainer {

struct TrainingData {
  std::unique_ptr<Dataset> train;
  std::unique_ptr<Dataset> eval;  // null where the spec has none
};

// `training` has its defaults resolved and is valid. Errors name the field (`training.data.eval.idx.labels: ...`), the
// reason and the remedy. INVALID_ARGUMENT and NOT_FOUND: the data or its path is wrong; RESOURCE_EXHAUSTED: it does not
// fit in `max_bytes` of memory; UNAVAILABLE: it cannot be read.
absl::StatusOr<TrainingData> LoadTrainingData(const v1::TrainingSpec& training, const process::Roots& roots,
                                              std::int64_t max_bytes);

}  // namespace mantissa::trainer
