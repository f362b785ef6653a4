// A run of the small model under a test's eyes: its engine, its storage and what it told the agent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/agent_end.h"
#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/telemetry.h"
#include "worker/trainer/bundle/replay_bundle.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/evaluate.h"
#include "worker/trainer/training_run.h"

namespace mantissa::trainer {

// The eager engine, and whatever a test wants to happen between its boundaries.
class WatchedEngine final : public Engine {
 public:
  WatchedEngine(Engine& engine, const std::function<void()>& after) : engine_(engine), after_(after) {}

  bool RunUntil(const Boundary& boundary, Control& control) override {
    const bool reached = engine_.RunUntil(boundary, control);
    after_();
    return reached;
  }
  std::vector<IterationReport> Poll() override { return engine_.Poll(); }
  void Drain() override { engine_.Drain(); }
  Progress progress() override { return engine_.progress(); }

 private:
  Engine& engine_;
  const std::function<void()>& after_;
};

class TrainingRunTest : public ::testing::Test {
 protected:
  // Trains what the spec says; `boundaries.iterations` are the spec's.
  RunOutcome Run(BoundaryPlanOptions boundaries = {}, std::unique_ptr<FakeControl> control = nullptr) {
    if (control != nullptr) control_ = std::move(control);
    boundaries.iterations = run_->training().iterations();
    EagerEngine eager(run_->state(), run_->program(), *run_clock_, {.in_flight = in_flight_});
    WatchedEngine engine(eager, after_run_until_);
    Replay replay(run_->state(), run_->program());
    RangeSampler ranges(run_->state(), run_->program(), ranges_every_, *run_clock_);
    Adviser adviser(
        {.mode = run_->training().precision().mode(), .scaler = run_->state().iteration_state().settings()});
    PrecisionMonitor monitor;
    const RunCheckpoints checkpoints(folder_.checkpoint_root(), CheckpointsOf(kJob));
    TrainingRunParts parts{
        .state = run_->state(),
        .engine = engine,
        .monitor = monitor,
        .sink = *sink_,
        .control = *control_,
        .checkpoints = checkpoints,
        .clock = *run_clock_,
        .evaluate = {},
        .checkpoint_saved = [this](const v1::Checkpoint& checkpoint) { announced_.push_back(checkpoint.name()); },
        .boundaries = BoundaryPlan(boundaries),
        .precision = run_->training().precision(),
        .lineage = lineage_,
        .generation_zero_seed = generation_zero_seed_,
        .replay = &replay,
        .adviser = adviser,
        .ranges = ranges,
        .spikes = LossSpikeGuard(run_->training().precision().loss_spike())};
    const BundleWriter bundles({kJob, 1, run_->spec(), lineage_, "cpu"}, run_->state(), run_->program(), checkpoints);
    if (keeps_bundles_) parts.bundles = &bundles;
    parts.bundles_first_skip = keeps_first_skip_;
    if (boundaries.has_evaluation) {
      parts.evaluate = [this](Control& evaluation_control) {
        evaluated_at_.push_back(run_->state().step_state().iteration);
        return Evaluate(run_->state().model(), run_->data(), run_->policy(), {.batch_size = 8}, evaluation_control);
      };
    }
    RunOutcome outcome = TrainingRun(parts).Run();
    sink_->Finish();
    reports_ = conversation_.agent().ReadAll(conversation_.channel());
    segments_ = SegmentsOf(reports_);
    ExpectContiguous(segments_, sink_->last_sequence());
    return outcome;
  }

  static TelemetrySinkOptions SinkOptions() {
    TelemetrySinkOptions options;
    options.scaled = true;
    return options;
  }

  // The job's folder becomes a file, in which nothing can be saved; and back.
  void BreakStorage() {
    std::filesystem::remove_all(folder_.checkpoints() / kJob);
    RunFolder::Write(folder_.checkpoints() / kJob, "in the way");
  }
  void MendStorage() { std::filesystem::remove_all(folder_.checkpoints() / kJob); }

  std::vector<std::string> Reasons() const { return ReasonsOf(EventsIn(segments_)); }
  bool IsSaved(const std::string& name) const {
    return std::filesystem::exists(folder_.checkpoints() / kJob / name / "MANIFEST.json");
  }

  std::string BundleFolder() const { return (folder_.checkpoints() / kJob / "attempt-0001" / "bundle").string(); }

  std::unique_ptr<SmallRun> run_ = std::make_unique<SmallRun>("model { mlp { hidden: 4 } }");
  bool keeps_bundles_ = false;
  bool keeps_first_skip_ = false;
  v1::Lineage lineage_;
  std::optional<std::uint64_t> generation_zero_seed_;
  std::unique_ptr<FakeControl> control_ = std::make_unique<FakeControl>();
  std::function<void()> after_run_until_ = [] {};
  process::FakeClock clock_;
  const process::Clock* run_clock_ = &clock_;
  int in_flight_ = 1;
  std::int64_t ranges_every_ = 0;
  RunFolder folder_;
  Conversation conversation_;
  std::unique_ptr<TelemetrySink> sink_ = std::make_unique<TelemetrySink>(conversation_.channel(), SinkOptions());
  std::vector<std::string> announced_;
  std::vector<std::int64_t> evaluated_at_;
  std::vector<v1::TrainerReport> reports_;
  std::vector<v1::Segment> segments_;
};

}  // namespace mantissa::trainer
