#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "process/roots.h"
#include "worker/agent/trainers/trainer_event.h"

namespace mantissa::agent {

// What the worker has that its trainers may use.
struct TrainerRoots {
  const process::Roots& open;
  const std::vector<v1::BoundRoot>& bound;  // the same, whole, as trainers are told of them
  const std::string& storage_id;            // of the root `checkpoints`
};

// What the trainer is told of an assignment: of its checkpoints only those that lie in this worker's storage.
// UNIMPLEMENTED for more than one rank or device; otherwise an error when the tenant's folders can't be had.
absl::StatusOr<RunOrder> RunOrderOf(const AttemptKey& key, const v1::Assignment& assignment, const TrainerRoots& roots);

}  // namespace mantissa::agent
