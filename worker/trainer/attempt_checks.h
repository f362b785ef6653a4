// What can be said of an attempt before it is built, and how its errors carry their reason.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/training.pb.h"

namespace mantissa::trainer {

// The status with the reason it gives the attempt's end.
absl::Status Because(v1::Reason::Code reason, absl::Status status);
// INTERNAL_ERROR where none was given.
v1::Reason::Code ReasonOf(const absl::Status& status);
// Of data files: BAD_DATA, or OUT_OF_DEVICE_MEMORY.
absl::Status DataError(const absl::Status& status);

// `spec` has its defaults resolved.
absl::Status CheckSpec(const v1::JobSpec& spec);

// The length of the run in windows.
absl::StatusOr<std::int64_t> TotalIterations(const v1::TrainingSpec& training, std::int64_t windows_per_epoch);

}  // namespace mantissa::trainer
