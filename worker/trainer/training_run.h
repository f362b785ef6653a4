// One attempt from its first iteration to its end: the loop, and what happens at its boundaries.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "process/clock.h"
#include "worker/amp/advice/adviser.h"
#include "worker/amp/loss_spike_guard.h"
#include "worker/amp/precision_monitor.h"
#include "worker/checkpoint/checkpoint_store.h"
#include "worker/trainer/boundary_plan.h"
#include "worker/trainer/bundle/bundle_writer.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/range_sampler.h"
#include "worker/trainer/replay.h"
#include "worker/trainer/report/telemetry_sink.h"
#include "worker/trainer/run_checkpoints.h"
#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

// How a stop was asked for.
struct StopRequest {
  bool checkpoint = false;  // save first
  bool or_go_on = false;    // where nothing can be saved
};

// What the outside wants of an attempt.
class RunControl : public Control {
 public:
  // Once stop_requested() said so.
  virtual StopRequest stop() const = 0;
  // It is not obeyed, because of `why`; the run goes on, and may be asked to stop again.
  virtual void DeclineStop(const absl::Status& why) = 0;
};

// What a run is made of; all of it outlives the run.
struct TrainingRunParts {
  RunState& state;
  Engine& engine;
  PrecisionMonitor& monitor;
  TelemetrySink& sink;
  RunControl& control;
  const RunCheckpoints& checkpoints;
  const process::Clock& clock;
  // Null where there is no evaluation data; nothing when a stop came in the middle.
  std::function<std::optional<v1::EvaluationResult>(Control&)> evaluate;
  // Tells the agent of a checkpoint on disk.
  std::function<void(const v1::Checkpoint&)> checkpoint_saved;
  BoundaryPlan boundaries;
  // What is to be done when precision fails: the spec's word, and what was done before.
  v1::PrecisionSpec precision = {};
  v1::Lineage lineage = {};
  // What this fresh state was made from, where generation 0 has to be saved before the first iteration.
  std::optional<std::uint64_t> generation_zero_seed = std::nullopt;
  // Answers Halt::kReplay; null where no iteration sets it.
  Replay* replay = nullptr;
  Adviser& adviser;
  RangeSampler& ranges;
  LossSpikeGuard spikes = LossSpikeGuard({});
  // Keeps a skipped iteration whole; null: none is kept.
  const BundleWriter* bundles = nullptr;
  bool bundles_first_skip = false;  // the first that is replayed, too

  // FP16: there is a loss scale to speak of.
  bool scaled() const { return precision.mode() == v1::PrecisionSpec::FP16; }
};

struct RunOutcome {
  v1::Attempt::State state = v1::Attempt::SUCCEEDED;
  v1::Reason::Code reason = v1::Reason::COMPLETED;
  std::string message;
  v1::JobResult result;
  std::optional<SavedCheckpoint> last_checkpoint;
  // FAILED, but the job goes on; the server decides how.
  std::optional<v1::Intervention> intervention = std::nullopt;
  std::optional<SavedCheckpoint> bundle = std::nullopt;
};

// Not thread-safe.
class TrainingRun {
 public:
  explicit TrainingRun(const TrainingRunParts& parts) : parts_(parts), spikes_(parts.spikes) {}

  RunOutcome Run();

 private:
  Progress progress() const { return parts_.engine.progress(); }
  void Observe(std::vector<IterationReport> reports);
  // Ranges, where a sample of them is due, and what follows from them.
  void SampleRanges();
  void Say(const std::vector<Advice>& advice, const IterationRecord& record);
  // What a replay says of a skipped iteration, which is the last that there is.
  void Explain(IterationReport& report);
  RunOutcome Intervene(const Intervention& intervention);
  // The end of the attempt, where a loss jumped and the spec lets it go back; else it goes on, and says why.
  std::optional<RunOutcome> AnswerSpike();
  // Nothing: it goes on, because what it has learned could not be saved.
  std::optional<RunOutcome> Stop();
  RunOutcome Complete();
  absl::Status SaveGenerationZero();
  // Keeps this skipped iteration, which nothing has been applied since. That it fails is said, and no more.
  void SaveBundle(const IterationRecord& record, const v1::JobEvent& event);
  // Nothing to do when this iteration is saved already. A failure is an event; what follows from it is the caller's.
  absl::Status Save(bool final);
  // Tells what came of a save, and remembers it.
  absl::Status Saved(absl::StatusOr<SavedCheckpoint> saved, process::SteadyTime began);
  // At a boundary: between intervals a full disk may be emptied again, so only the third failure in a row counts.
  absl::Status SaveAtBoundary(bool final);
  // False when a stop came in the middle.
  bool EvaluateNow();
  void SampleMemory(process::SteadyTime now, IterationRecord& record);
  RunOutcome NotSaved(const absl::Status& status);
  RunOutcome End(v1::Attempt::State state, v1::Reason::Code reason, std::string message);
  std::int64_t WallNanos() const;

  const TrainingRunParts parts_;
  LossSpikeGuard spikes_;
  std::optional<Spike> spike_;  // not answered yet
  // The first of the skipped iterations in a row that the newest one belongs to.
  struct Skip {
    IterationRecord record;
    v1::JobEvent event;
  };
  std::optional<Skip> first_skip_;
  std::optional<SavedCheckpoint> bundle_;
  std::optional<IterationRecord> last_record_;
  std::optional<v1::EvaluationResult> last_evaluation_;
  std::optional<SavedCheckpoint> last_checkpoint_;
  int failed_saves_ = 0;  // in a row
  double training_seconds_ = 0;
  double samples_ = 0;
  process::SteadyTime memory_sampled_;
};

}  // namespace mantissa::trainer
