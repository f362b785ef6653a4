// What a KEDA trigger says in its metadata, and what it means.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/map.h"

#include "server/core/queue_filter.h"

namespace mantissa::server {

using ScalerMetadata = google::protobuf::Map<std::string, std::string>;

struct ScalerTrigger {
  QueueFilter filter;
  // How many waiting jobs are worth one replica.
  int64_t jobs_per_worker = 1;
};

// Keys, all optional:
//   devices        what the jobs to be counted ask for, of AUTO, CPU, CUDA; default: whatever they ask for
//   labels         labels that they have, key=value, joined by commas
//   workerLabels   labels of the workers that are started; a job whose worker_selector asks for others is not counted
//   jobsPerWorker  how many waiting jobs are worth one worker, 1 to 1000000; default: 1
// and those that KEDA reads itself (scalerAddress, ...). INVALID_ARGUMENT names the key, what is wrong with it, and
// what would be right; a key that nobody reads is an error, too.
absl::StatusOr<ScalerTrigger> ParseScalerMetadata(const ScalerMetadata& metadata);

}  // namespace mantissa::server
