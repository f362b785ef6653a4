// What can be said of an attempt before it is built, and how its errors carry their reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"

namespace mantissa::trainer {

// The status with the reason it gives the attempt's end.
absl::Status Because(v1::Reason::Code reason, absl::Status status);
// INTERNAL_ERROR where none was given.
v1::Reason::Code ReasonOf(const absl::Status& status);
// Of data files: BAD_DATA, or OUT_OF_DEVICE_MEMORY.
absl::Status DataError(const absl::Status& status);

// `spec` has its defaults resolved.
absl::Status CheckSpec(const v1::JobSpec& spec);

using PrecisionModes = std::vector<v1::PrecisionSpec::Mode>;

// `device`: what it has; empty: everything.
bool HasArithmetic(const PrecisionModes& device, v1::PrecisionSpec::Mode mode);

// Modes that a training in `precision`, as its mode and its overrides are in effect, computes in and the device has no
// arithmetic for.
PrecisionModes LackingModes(const v1::PrecisionSpec& precision, const PrecisionModes& device);

// PRECISION_UNSUPPORTED where one is lacking and the spec does not have it emulated.
absl::Status CheckArithmetic(const v1::PrecisionSpec& precision, const PrecisionModes& device,
                             const std::string& device_name);

// Whether data that take so much had better stay in the host's memory.
bool CrowdsDevice(std::int64_t data_bytes, std::int64_t free_bytes);

// What of the spec only the data's shape can tell.
absl::Status CheckAgainstData(const v1::TrainingSpec& training, const spec::SampleShape& sample);

// The length of the run in windows.
absl::StatusOr<std::int64_t> TotalIterations(const v1::TrainingSpec& training, std::int64_t windows_per_epoch);

}  // namespace mantissa::trainer
