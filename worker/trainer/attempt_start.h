// How an attempt comes to what it trains: data, a plan that fits the device, and the state it begins with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include <torch/headeronly/version.h>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/data/batch_plan.h"
#include "worker/data/load_data.h"
#include "worker/trainer/attempt.h"
#include "worker/trainer/execution_plan.h"
#include "worker/trainer/run_checkpoints.h"
#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

// Fresh, resumed, or begun from somebody else's parameters. Lives as long as one attempt; not thread-safe.
class AttemptStart {
 public:
  // `spec` is as `lineage` trains it. All but `spec` outlive it.
  AttemptStart(const v1::RunAttempt& run, const v1::JobSpec& spec, const v1::Lineage& lineage,
               const AttemptEnvironment& env)
      : run_(run), spec_(spec), lineage_(lineage), env_(env) {}
  AttemptStart(const AttemptStart&) = delete;
  AttemptStart& operator=(const AttemptStart&) = delete;

  // Everything, once. An error carries its reason (attempt_checks.h). What LibTorch throws goes through.
  absl::Status Build();

  // After Build.
  const v1::TrainingSpec& training() const { return training_; }  // with the accumulation that was chosen
  // As it was submitted, with its defaults and the accumulation that was chosen.
  v1::JobSpec Submitted() const;
  const TrainingData& data() const { return data_; }
  // Of the model's modules on this device.
  PrecisionPolicy Policy() const;
  BatchPlan Batches() const;
  RunState& state() { return *state_; }
  const RunCheckpoints& checkpoints() const { return *checkpoints_; }
  std::int64_t total_iterations() const { return total_iterations_; }
  // The checkpoint it goes on from; empty: none.
  const std::string& resumed_from() const { return resumed_from_; }
  bool ChoosesMicroBatch() const { return training_.micro_batch() == v1::MicroBatch::AUTO; }
  v1::TrainingStarted Describe();
  // What there is to say of it, in order.
  const std::vector<v1::JobEvent>& notices() const { return notices_; }

 private:
  // In this order.
  absl::Status ReadData();
  absl::Status FitMemory();
  absl::Status BuildState();
  absl::Status Resume();
  absl::Status Initialise();
  absl::Status TryMicroBatches();
  absl::Status Reclaim();

  void PlaceData();
  std::optional<std::int64_t> PeakOfOneIteration(std::int64_t micro_batch);
  void FollowMicroBatch(std::int64_t micro_batch);
  absl::Status RestoreFrom(const RunCheckpoints& checkpoints);
  absl::Status TakeOver(LoadedState& loaded);
  void Notice(v1::JobEvent::Severity severity, const std::string& reason, const std::string& message);
  std::int64_t WallNanos() const;

  const v1::RunAttempt& run_;
  v1::JobSpec spec_;
  const v1::TrainingSpec& training_ = spec_.training();
  const v1::Lineage& lineage_;
  const AttemptEnvironment& env_;
  const Machine machine_{env_.threads, env_.device_name, CpuCapability(), TORCH_VERSION};

  TrainingData data_;
  std::int64_t windows_per_epoch_ = 1;
  std::int64_t total_iterations_ = 0;
  std::int64_t free_bytes_ = 0;                 // on the device, before the run took any
  std::optional<v1::MicroBatchChosen> chosen_;  // where it is ours to choose
  ExecutionPlan plan_;
  std::optional<RunState> state_;
  RunCheckpointOptions checkpoint_options_;
  std::optional<RunCheckpoints> checkpoints_;
  std::string resumed_from_;
  bool at_the_beginning_ = true;  // nothing was resumed but generation 0
  std::vector<v1::JobEvent> notices_;
};

}  // namespace mantissa::trainer
