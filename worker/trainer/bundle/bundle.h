// A repro bundle: one skipped iteration, whole. Its folder holds MANIFEST.json (checkpoint/manifest.h; its counters are
// those before the iteration, its loss scale the one that the iteration ran with), the state before it
// (model.safetensors, optimizer.safetensors), its very samples (batch.safetensors: `input.0`, `target.0`, ... of each
// micro-batch), and BUNDLE.json:
//
// {
//   "format": 1, "job_id": "01j…", "attempt": 1, "iteration": 57, "window": 56,
//   "micro_batches": [[12, 3, …], …],              the samples, as they are numbered in the data
//   "data": {"samples": 1437, "context": 0, "features": [64], "classes": 10},
//   "spec": {…}, "lineage": {…},                   JobSpec with its defaults, in proto3 JSON; Lineage
//   "event": {…},                                  JobEvent of the skip, as the attempt told it
//   "device": "NVIDIA H200",
//   "replay": "mantissa-trainer --replay FOLDER"
// }
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "worker/data/dataset.h"
#include "worker/trainer/run_checkpoints.h"

namespace mantissa::trainer {

struct Bundle {
  std::string job_id;
  std::int32_t attempt = 0;
  std::int64_t iteration = 0;  // from 1
  std::int64_t window = 0;     // of the data, from 0
  std::vector<std::vector<std::int64_t>> micro_batches;
  std::int64_t samples = 0;  // in the whole data
  DataShape shape;
  v1::JobSpec spec;
  v1::Lineage lineage;
  v1::JobEvent event;
  std::string device;
};

std::string EncodeBundle(const Bundle& bundle);

// Any bytes may be given; INVALID_ARGUMENT says what is wrong. Numbers are in the ranges of what they count, and the
// spec is valid.
absl::StatusOr<Bundle> ParseBundle(std::string_view json);

// `input.3` of micro-batch 3.
std::string InputName(std::size_t micro_batch);
std::string TargetName(std::size_t micro_batch);

}  // namespace mantissa::trainer
