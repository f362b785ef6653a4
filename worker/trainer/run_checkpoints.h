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
// Of a bundle.
inline constexpr char kBatchFile[] = "batch.safetensors";
inline constexpr char kBundleFile[] = "BUNDLE.json";

struct RunCheckpointOptions {
  std::string job_id;
  std::int32_t attempt = 1;
  std::string storage_id;
  std::int64_t windows_per_epoch = 1;
  v1::Lineage lineage = {};  // of the attempt
  std::map<std::string, std::string> execution_plan;
  std::map<std::string, std::string> versions;
};

// A state that was read back, not yet taken over.
struct LoadedState {
  RunSnapshot snapshot;  // empty for generation 0, which is the state that a fresh run of its seed has
  Manifest manifest;
  std::string name;                  // of the generation
  std::vector<std::string> damaged;  // why newer ones were passed over, one line each
  LoadedCheckpoint files;            // the tensors lie in it
};

// Of a checkpoint, or a bundle, that has been read whole. DATA_LOSS where it is not a state's.
absl::StatusOr<LoadedState> StateIn(LoadedCheckpoint files);

// What an iteration began with, where that is not what the state says now.
struct IterationStart {
  std::int64_t iteration = 0;  // windows consumed before it
  double loss_scale = 1;
};

// Not thread-safe.
class RunCheckpoints {
 public:
  // The root must outlive it.
  RunCheckpoints(const process::OpenRoot& root, const RunCheckpointOptions& options)
      : options_(options), store_(root, options.job_id) {}

  absl::StatusOr<SavedCheckpoint> Save(const RunState& state, bool final, std::int64_t time_unix_nanos) const;

  // Generation 0, of a state that `seed` gave and nothing has changed yet.
  absl::StatusOr<SavedCheckpoint> SaveGenerationZero(const RunState& state, std::uint64_t seed,
                                                     std::int64_t time_unix_nanos) const;

  // The state before a skipped iteration, its samples, and BUNDLE.json (bundle/bundle.h); what was there of this
  // attempt is replaced.
  absl::StatusOr<SavedCheckpoint> SaveBundle(const RunState& state, const IterationStart& start,
                                             const std::vector<NamedTensor>& batches, const std::string& bundle_json,
                                             std::int64_t time_unix_nanos) const;

  // As the agent and the server know it.
  v1::Checkpoint Describe(const SavedCheckpoint& saved) const;

  // The first of `candidates` (newest first) that verifies. DATA_LOSS with every reason when there is none.
  absl::StatusOr<LoadedState> Load(const google::protobuf::RepeatedPtrField<v1::Checkpoint>& candidates) const;

  // What earlier attempts left beside `committed`. See Note [Reclaiming].
  absl::StatusOr<ReclaimedCheckpoints> Reclaim(const v1::CommittedCheckpoints& committed) const;

 private:
  Manifest Facts(const RunState& state, const RunSnapshot& view, std::int64_t time_unix_nanos) const;

  const RunCheckpointOptions options_;
  const CheckpointStore store_;
};

}  // namespace mantissa::trainer
