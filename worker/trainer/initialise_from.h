// Parameters and buffers to begin with, from another job's checkpoint or somebody's file (training.init_from).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/training.pb.h"
#include "process/roots.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

// Where init_from may look.
struct InitialSources {
  const process::Roots& roots;
  const process::OpenRoot& checkpoints;        // the root of that name
  const v1::Checkpoint* checkpoint = nullptr;  // what init_from names, where it names a job
  std::int64_t max_bytes = 0;                  // of memory that a file may take
};

// Takes over every parameter and buffer, or none; everything else of `state` stays. Returns one line that says from
// where, and what was converted. Errors:
// - FAILED_PRECONDITION: the tensors do not fit the model. All of them are named, up to 16, each with what it is
//   probably called.
// - DATA_LOSS, NOT_FOUND: the other job's checkpoint is damaged, or not on this worker's storage.
// - INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE: of the file, as of data files.
absl::StatusOr<std::string> InitialiseFrom(const v1::InitFrom& init_from, const InitialSources& sources,
                                           RunState& state);

// The same from tensors; returns how many were converted from which types, ` (2 tensors converted from F16)`, or "".
absl::StatusOr<std::string> TakeTensors(const SafetensorsFile& source, const v1::InitFrom& init_from, RunState& state);

}  // namespace mantissa::trainer
