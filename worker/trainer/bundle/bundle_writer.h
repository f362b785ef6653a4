// Writes the repro bundle of a skipped iteration while its state is still there.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "worker/amp/iteration_record.h"
#include "worker/trainer/run_checkpoints.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

// What of a run a bundle tells.
struct BundleFacts {
  std::string job_id;
  std::int32_t attempt = 1;
  v1::JobSpec spec;  // with its defaults, and what the trainer chose
  v1::Lineage lineage;
  std::string device;
};

// Not thread-safe.
class BundleWriter {
 public:
  // All but the facts outlive it.
  BundleWriter(BundleFacts facts, const RunState& state, const StepProgram& program, const RunCheckpoints& checkpoints)
      : facts_(std::move(facts)), state_(state), program_(program), checkpoints_(checkpoints) {}

  // Of an iteration that was skipped, and nothing has been applied since: the present state is the one before it.
  // Replaces the attempt's earlier one.
  absl::StatusOr<SavedCheckpoint> Save(const IterationRecord& record, const v1::JobEvent& event,
                                       std::int64_t time_unix_nanos) const;

 private:
  const BundleFacts facts_;
  const RunState& state_;
  const StepProgram& program_;
  const RunCheckpoints& checkpoints_;
};

}  // namespace mantissa::trainer
