// The checkpoints of one attempt: from the run's state to files and back.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"

#include "mantissa/v1/job.pb.h"
#include "worker/checkpoint/checkpoint_store.h"
#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

inline constexpr char kModelFile[] = "model.safetensors";
inline constexpr char kOptimizerFile[] = "optimizer.safetensors";

struct RunCheckpointOptions {
  std::string job_id;
  std::int32_t attempt = 1;
  std::string storage_id;
  std::int64_t windows_per_epoch = 1;
  std::map<std::string, std::string> execution_plan;
  std::map<std::string, std::string> versions;
};

// A state that was read back, not yet taken over.
struct LoadedState {
  RunSnapshot snapshot;
  Manifest manifest;
  std::string name;                  // of the generation
  std::vector<std::string> damaged;  // why newer ones were passed over, one line each
  LoadedCheckpoint files;            // the tensors lie in it
};

// Not thread-safe.
class RunCheckpoints {
 public:
  // The root must outlive it.
  RunCheckpoints(const process::OpenRoot& root, const RunCheckpointOptions& options)
      : options_(options), store_(root, options.job_id) {}

  absl::StatusOr<SavedCheckpoint> Save(const RunState& state, bool final, std::int64_t time_unix_nanos) const;

  // As the agent and the server know it.
  v1::Checkpoint Describe(const SavedCheckpoint& saved) const;

  // The first of `candidates` (newest first) that verifies. DATA_LOSS with every reason when there is none.
  absl::StatusOr<LoadedState> Load(const google::protobuf::RepeatedPtrField<v1::Checkpoint>& candidates) const;

  // What earlier attempts left beside `committed`. See Note [Reclaiming].
  absl::StatusOr<ReclaimedCheckpoints> Reclaim(const v1::CommittedCheckpoints& committed) const;

 private:
  const RunCheckpointOptions options_;
  const CheckpointStore store_;
};

}  // namespace mantissa::trainer
