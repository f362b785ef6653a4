#include "worker/trainer/training_run.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "proto/spec/lineage.h"
#include "tests/unit/trainer/agent_end.h"
#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/telemetry.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "worker/trainer/bundle/replay_bundle.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/evaluate.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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

TEST_F(TrainingRunTest, TrainsToItsLengthSavesAndSucceeds) {
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED);
  EXPECT_EQ(outcome.reason, v1::Reason::COMPLETED);
  EXPECT_EQ(outcome.message, "trained 20 iterations, 20 applied");
  EXPECT_EQ(outcome.result.iterations(), 20);
  EXPECT_EQ(outcome.result.steps(), 20);
  EXPECT_EQ(outcome.result.skipped_iterations(), 0);
  EXPECT_EQ(outcome.result.loss(), run_->state().step_state().loss);
  EXPECT_FALSE(outcome.result.has_eval_loss());
  ASSERT_TRUE(outcome.last_checkpoint.has_value());
  EXPECT_TRUE(outcome.last_checkpoint->manifest.final);
  EXPECT_EQ(outcome.result.checkpoint(), "attempt-0001/step-00000020");
  EXPECT_THAT(announced_, ElementsAre("attempt-0001/step-00000020"));
  std::vector<std::int64_t> all(20);
  std::iota(all.begin(), all.end(), 1);
  EXPECT_EQ(IntegersIn(segments_, v1::Column::ITERATION), all);
}

TEST_F(TrainingRunTest, EvaluatesAndSavesAtTheBoundariesAndAtTheEnd) {
  const RunOutcome outcome = Run({.evaluate_every = 6, .checkpoint_every = 9, .has_evaluation = true});
  EXPECT_THAT(evaluated_at_, ElementsAre(6, 12, 18, 20));
  EXPECT_THAT(announced_,
              ElementsAre("attempt-0001/step-00000009", "attempt-0001/step-00000018", "attempt-0001/step-00000020"));
  EXPECT_THAT(Reasons(), ElementsAre("EVALUATED", "CHECKPOINT_SAVED", "EVALUATED", "EVALUATED", "CHECKPOINT_SAVED",
                                     "EVALUATED", "CHECKPOINT_SAVED"));
  EXPECT_TRUE(outcome.result.has_eval_loss());
  EXPECT_TRUE(outcome.result.has_eval_accuracy());
  EXPECT_FALSE(outcome.result.has_eval_perplexity());
  std::vector<std::int32_t> steps;
  for (const v1::JobEvent& event : EventsIn(segments_)) {
    if (event.has_evaluation()) steps.push_back(event.evaluation().step());
  }
  EXPECT_THAT(steps, ElementsAre(6, 12, 18, 20));
}

TEST_F(TrainingRunTest, WithoutEvaluationDataThereIsNone) {
  Run({.evaluate_every = 6});
  EXPECT_THAT(evaluated_at_, IsEmpty());
  EXPECT_THAT(Reasons(), Not(Contains("EVALUATED")));
}

TEST_F(TrainingRunTest, ARunThatIsResumedAtItsVeryEndStillEvaluatesAndSaves) {
  run_->TrainTo(20);
  const RunOutcome outcome = Run({.has_evaluation = true});
  EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED);
  EXPECT_THAT(evaluated_at_, ElementsAre(20));
  EXPECT_TRUE(outcome.last_checkpoint->manifest.final);
  EXPECT_FALSE(outcome.result.has_loss()) << "no iteration was trained here";
}

TEST_F(TrainingRunTest, AResumedRunAtItsEndThatCannotSaveHasFailed) {
  run_->TrainTo(20);
  BreakStorage();
  EXPECT_EQ(Run().reason, v1::Reason::CHECKPOINT_FAILED);
}

TEST_F(TrainingRunTest, AStopWithoutACheckpointSavesNothing) {
  const RunOutcome outcome = Run({}, std::make_unique<FakeControl>(6));
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_EQ(outcome.reason, v1::Reason::REASON_UNSPECIFIED);
  EXPECT_EQ(outcome.message, "stopped at iteration 5");
  EXPECT_EQ(outcome.result.iterations(), 5);
  EXPECT_THAT(announced_, IsEmpty());
  EXPECT_FALSE(outcome.last_checkpoint.has_value());
  EXPECT_EQ(outcome.result.checkpoint(), "");
}

TEST_F(TrainingRunTest, AStopWithACheckpointSavesTheIterationItStoppedAt) {
  const RunOutcome outcome = Run({}, std::make_unique<FakeControl>(6, /*checkpoint=*/true));
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_THAT(announced_, ElementsAre("attempt-0001/step-00000005"));
  EXPECT_FALSE(outcome.last_checkpoint->manifest.final);
  EXPECT_EQ(outcome.result.checkpoint(), "attempt-0001/step-00000005");
  EXPECT_TRUE(IsSaved("attempt-0001/step-00000005"));
}

TEST_F(TrainingRunTest, AStopRightAfterACheckpointDoesNotSaveItTwice) {
  // Asked before each of five iterations and once after them, where it saves; then before the sixth.
  const RunOutcome outcome = Run({.checkpoint_every = 5}, std::make_unique<FakeControl>(7, /*checkpoint=*/true));
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_THAT(announced_, ElementsAre("attempt-0001/step-00000005"));
}

TEST_F(TrainingRunTest, AStopWhoseCheckpointFailsIsAFailure) {
  BreakStorage();
  const RunOutcome outcome = Run({}, std::make_unique<FakeControl>(6, /*checkpoint=*/true));
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::CHECKPOINT_FAILED);
  EXPECT_THAT(outcome.message, HasSubstr("the checkpoint at iteration 5 could not be saved: "));
}

TEST_F(TrainingRunTest, AStopThatNeedNotBeIsDeclinedWhenItsCheckpointFails) {
  BreakStorage();
  auto control = std::make_unique<FakeControl>(6, /*checkpoint=*/true);
  control->or_go_on = true;
  after_run_until_ = [this] {
    if (!control_->declined.empty()) MendStorage();
  };
  const RunOutcome outcome = Run({}, std::move(control));
  ASSERT_THAT(control_->declined, SizeIs(1));
  EXPECT_THAT(std::string(control_->declined[0].message()),
              HasSubstr("the checkpoint at iteration 5 could not be saved"));
  EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED) << "it trained on";
  EXPECT_EQ(outcome.result.iterations(), 20);
}

TEST_F(TrainingRunTest, AStopInTheMiddleOfAnEvaluationEndsTheRun) {
  // Six questions of training, one after it, and the second batch of the evaluation.
  const RunOutcome outcome =
      Run({.evaluate_every = 6, .has_evaluation = true}, std::make_unique<FakeControl>(9, /*checkpoint=*/true));
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_EQ(outcome.message, "stopped at iteration 6");
  EXPECT_THAT(evaluated_at_, ElementsAre(6));
  EXPECT_THAT(Reasons(), ElementsAre("CHECKPOINT_SAVED"));
  EXPECT_FALSE(outcome.result.has_eval_loss());
}

TEST_F(TrainingRunTest, AStopInTheMiddleOfTheLastEvaluationIsNoSuccess) {
  // Twenty questions of training, one after it, and the second batch of the evaluation.
  const RunOutcome outcome = Run({.has_evaluation = true}, std::make_unique<FakeControl>(23));
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_THAT(announced_, IsEmpty());
}

TEST_F(TrainingRunTest, TheThirdFailedSaveInARowEndsTheRun) {
  BreakStorage();
  const RunOutcome outcome = Run({.checkpoint_every = 2});
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::CHECKPOINT_FAILED);
  EXPECT_THAT(outcome.message, HasSubstr("the checkpoint at iteration 6 could not be saved: "));
  EXPECT_EQ(outcome.result.iterations(), 6);
  EXPECT_THAT(Reasons(), ElementsAre("CHECKPOINT_NOT_SAVED", "CHECKPOINT_NOT_SAVED", "CHECKPOINT_NOT_SAVED"));
  EXPECT_EQ(EventsIn(segments_).at(0).severity(), v1::JobEvent::ERROR);
  EXPECT_EQ(EventsIn(segments_).at(0).iteration(), 2);
  EXPECT_THAT(announced_, IsEmpty());
}

TEST_F(TrainingRunTest, ASaveThatSucceedsInBetweenStartsTheCountAnew) {
  after_run_until_ = [this] {
    const std::int64_t iteration = run_->state().step_state().iteration;
    if (iteration == 2 || iteration == 8) BreakStorage();
    if (iteration == 6 || iteration == 12) MendStorage();
  };
  const RunOutcome outcome = Run({.checkpoint_every = 2});
  EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED) << outcome.message;
  EXPECT_THAT(announced_,
              ElementsAre("attempt-0001/step-00000006", "attempt-0001/step-00000012", "attempt-0001/step-00000014",
                          "attempt-0001/step-00000016", "attempt-0001/step-00000018", "attempt-0001/step-00000020"));
}

TEST_F(TrainingRunTest, AFinalSaveThatFailsIsNotForgiven) {
  BreakStorage();
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::CHECKPOINT_FAILED);
  EXPECT_EQ(outcome.result.iterations(), 20);
}

TEST_F(TrainingRunTest, AnEarlierCheckpointDoesNotMakeUpForTheFinalOne) {
  after_run_until_ = [this] {
    if (run_->state().step_state().iteration == 20) BreakStorage();
  };
  const RunOutcome outcome = Run({.checkpoint_every = 9});
  EXPECT_THAT(announced_, SizeIs(2));
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::CHECKPOINT_FAILED);
}

TEST_F(TrainingRunTest, NothingButSkippedIterationsEndsItAsANumericFailureAndKeepsTheState) {
  run_ = std::make_unique<SmallRun>("iterations: 100", ConstantData(kNan));
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::NUMERIC_FAILURE);
  EXPECT_THAT(outcome.message,
              AllOf(HasSubstr("50 iterations in a row were skipped"), HasSubstr("lower the learning rate"),
                    HasSubstr("The state before the failure is kept in checkpoint attempt-0001/step-00000000.")));
  EXPECT_EQ(outcome.result.skipped_iterations(), 50);
  EXPECT_EQ(outcome.result.iterations(), 50);
  ASSERT_TRUE(outcome.last_checkpoint.has_value());
  EXPECT_TRUE(outcome.last_checkpoint->manifest.finite);
  EXPECT_FALSE(outcome.last_checkpoint->manifest.final);
  EXPECT_TRUE(IsSaved("attempt-0001/step-00000000"));
}

TEST_F(TrainingRunTest, ARunTooShortToFailThatLearnedNothingIsNoSuccess) {
  run_ = std::make_unique<SmallRun>("iterations: 20 precision { mode: BF16 fallback: FP32 }", ConstantData(kNan));
  lineage_.set_precision(v1::PrecisionSpec::BF16);
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::NUMERIC_FAILURE);
  EXPECT_THAT(outcome.message, HasSubstr("every one of its 20 iterations was skipped, so nothing was learned"));
  ASSERT_TRUE(outcome.intervention.has_value()) << "what the spec says of a failure holds";
  EXPECT_EQ(outcome.intervention->to_precision(), v1::PrecisionSpec::FP32);
}

TEST_F(TrainingRunTest, AnOverflowAtTheLowestScaleSaysSoAndKeepsTheState) {
  run_ = std::make_unique<SmallRun>("precision { mode: FP16 loss_scale { preset: DEEPSPEED init: 2 hysteresis: 1 } }",
                                    ConstantData(kNan));
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::SCALE_AT_MINIMUM);
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("iteration 2: overflow with the loss scale at its floor, 1"),
                                     HasSubstr("train in BF16"), HasSubstr("is kept in checkpoint")));
  EXPECT_TRUE(IsSaved("attempt-0001/step-00000000"));
  EXPECT_EQ(outcome.result.loss_scale(), 1);
  EXPECT_EQ(Reasons().front(), "NAN_FORWARD");
}

TEST_F(TrainingRunTest, AFailureWhoseStateCannotBeSavedKeepsItsReason) {
  run_ = std::make_unique<SmallRun>("iterations: 100", ConstantData(kNan));
  BreakStorage();
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.reason, v1::Reason::NUMERIC_FAILURE);
  EXPECT_THAT(outcome.message, Not(HasSubstr("is kept in checkpoint")));
  EXPECT_FALSE(outcome.last_checkpoint.has_value());
}

TEST_F(TrainingRunTest, ARollbackIsAskedForWithTheRunOfSkipsAndSavesNothing) {
  run_ = std::make_unique<SmallRun>("iterations: 100 precision { on_failure: ROLLBACK }", ConstantData(kNan));
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::NUMERIC_FAILURE);
  ASSERT_TRUE(outcome.intervention.has_value());
  EXPECT_EQ(outcome.intervention->kind(), v1::Intervention::ROLLBACK);
  EXPECT_EQ(outcome.intervention->iterations().first(), 1);
  EXPECT_EQ(outcome.intervention->iterations().last(), 50);
  EXPECT_THAT(announced_, IsEmpty());
}

TEST_F(TrainingRunTest, TheRunOfSkipsMayHaveBegunInAnEarlierAttempt) {
  run_ = std::make_unique<SmallRun>("iterations: 100 precision { on_failure: ROLLBACK }", ConstantData(kNan));
  RunSnapshot snapshot = run_->state().Snapshot();
  snapshot.step.iteration = 60;
  snapshot.step.step = 15;
  snapshot.step.skips_in_row = 45;
  ASSERT_TRUE(run_->state().Restore(snapshot).ok());
  const RunOutcome outcome = Run();
  ASSERT_TRUE(outcome.intervention.has_value());
  EXPECT_EQ(outcome.intervention->iterations().first(), 16);
  EXPECT_EQ(outcome.intervention->iterations().last(), 65);
}

TEST_F(TrainingRunTest, AFallbackIsAskedForInEveryPrecisionAndSavesTheState) {
  run_ = std::make_unique<SmallRun>("iterations: 100 precision { mode: BF16 fallback: FP32 }", ConstantData(kNan));
  lineage_.set_precision(v1::PrecisionSpec::BF16);
  const RunOutcome outcome = Run();
  ASSERT_TRUE(outcome.intervention.has_value());
  EXPECT_EQ(outcome.intervention->kind(), v1::Intervention::FALLBACK);
  EXPECT_EQ(outcome.intervention->reason(), v1::Reason::NUMERIC_FAILURE);
  EXPECT_EQ(outcome.intervention->to_precision(), v1::PrecisionSpec::FP32);
  EXPECT_THAT(announced_, ElementsAre("attempt-0001/step-00000000"));
}

TEST_F(TrainingRunTest, AFallbackWhoseStateCannotBeSavedIsAskedForAllTheSame) {
  run_ = std::make_unique<SmallRun>("iterations: 100 precision { mode: BF16 fallback: FP32 }", ConstantData(kNan));
  BreakStorage();
  const RunOutcome outcome = Run();
  EXPECT_TRUE(outcome.intervention.has_value()) << "the server goes back to the last one that it has";
  EXPECT_THAT(announced_, IsEmpty());
}

TEST_F(TrainingRunTest, WhatARollbackHasNotHelpedIsAFailureThatSaysSo) {
  run_ = std::make_unique<SmallRun>("iterations: 100 precision { on_failure: ROLLBACK }", ConstantData(kNan));
  v1::IndexRange& trouble = *lineage_.add_troubles();
  trouble.set_first(50);
  trouble.set_last(51);
  const RunOutcome outcome = Run();
  EXPECT_FALSE(outcome.intervention.has_value());
  EXPECT_THAT(outcome.message, HasSubstr("the same iterations failed again"));
  EXPECT_THAT(announced_, SizeIs(1)) << "the state is kept for people to look at";
}

// The loss of iterations from 80 on, of a run that is otherwise quiet, is far above what it was.
class LossSpikeTest : public TrainingRunTest {
 protected:
  void Prepare(const std::string& precision) {
    std::int64_t passes = 0;
    probe_.Plant(
        "head", [passes](const at::Tensor& output) mutable { return ++passes >= 80 ? output * -1000 : output; },
        nullptr);
    SmallRunOptions options;
    options.probe = &probe_;
    run_ = std::make_unique<SmallRun>(
        "model { mlp { hidden: 8 } } optimizer { sgd { learning_rate: 1e-4 momentum: 0 } } iterations: 100 precision "
        "{ " +
            precision + " }",
        std::move(options));
    lineage_.set_number(1);
    lineage_.set_learning_rate_factor(1);
    lineage_.set_precision(v1::PrecisionSpec::FP32);
  }

  FaultProbe probe_;
};

class LateLossSpikeTest : public LossSpikeTest, public ::testing::WithParamInterface<int> {};

TEST_P(LateLossSpikeTest, ALossThatStaysFarAboveEndsTheAttemptAndSavesNothing) {
  in_flight_ = GetParam();
  Prepare("loss_spike { action: ROLLBACK iterations: 4 }");
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  EXPECT_EQ(outcome.reason, v1::Reason::LOSS_SPIKE) << outcome.message;
  ASSERT_TRUE(outcome.intervention.has_value());
  EXPECT_EQ(outcome.intervention->kind(), v1::Intervention::ROLLBACK);
  EXPECT_EQ(outcome.intervention->reason(), v1::Reason::LOSS_SPIKE);
  EXPECT_EQ(outcome.intervention->iterations().first(), 80) << "the same with any number in flight";
  EXPECT_EQ(outcome.intervention->iterations().last(), 83);
  EXPECT_THAT(announced_, IsEmpty());
  EXPECT_THAT(outcome.message, HasSubstr("at iteration 80 and stayed far above it up to iteration 83"));
}

INSTANTIATE_TEST_SUITE_P(InFlight, LateLossSpikeTest, ::testing::Values(1, 4),
                         [](const auto& info) { return std::to_string(info.param); });

TEST_F(LossSpikeTest, WithoutAGuardItIsAdviceAlone) {
  Prepare("");
  EXPECT_EQ(Run().state, v1::Attempt::SUCCEEDED);
  EXPECT_THAT(Reasons(), Contains("ADVICE"));
}

TEST_F(LossSpikeTest, WhereNothingCanBeGoneBackForItGoesOnAndSaysWhyOnce) {
  Prepare("loss_spike { action: ROLLBACK } max_rollbacks: 2");
  lineage_.set_rollbacks(2);
  EXPECT_EQ(Run().state, v1::Attempt::SUCCEEDED);
  const std::vector<v1::JobEvent> events = EventsIn(segments_);
  const auto said = std::find_if(events.begin(), events.end(),
                                 [](const v1::JobEvent& event) { return event.reason() == "LOSS_SPIKE"; });
  ASSERT_NE(said, events.end());
  EXPECT_EQ(said->severity(), v1::JobEvent::WARNING);
  EXPECT_THAT(said->message(), AllOf(HasSubstr("2 rollbacks are used"), HasSubstr("The run goes on")));
  const std::vector<std::string> reasons = Reasons();
  EXPECT_EQ(std::count(reasons.begin(), reasons.end(), "LOSS_SPIKE"), 1);
}

// A bundle is of the first of the skipped iterations that end an attempt.
class BundledRunTest : public TrainingRunTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(BundledRunTest, AFailureKeepsItsFirstSkippedIterationWhole) {
  const std::string& precision = GetParam();
  run_ = std::make_unique<SmallRun>(
      "model { mlp { hidden: 8 dropout: 0.25 } } accumulation: 3 iterations: 100 precision { " + precision + " }",
      ConstantData(kNan));
  lineage_ = spec::FirstLineage(run_->training().precision());
  keeps_bundles_ = true;
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::FAILED);
  ASSERT_TRUE(outcome.bundle.has_value());
  EXPECT_EQ(outcome.bundle->name, "attempt-0001/bundle");
  EXPECT_EQ(outcome.bundle->manifest.iteration, 0);
  EXPECT_EQ(outcome.bundle->manifest.scaler.loss_scale, precision.ends_with("}") ? 64 : 1) << "it ran with";
  EXPECT_THAT(Reasons(), Contains("BUNDLE_SAVED"));
  const auto replayed = ReplayBundle(BundleFolder(), {});
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_EQ(replayed->iteration, 1);
  EXPECT_EQ(replayed->found.location().stage(), v1::OverflowLocation::INPUT);
  EXPECT_EQ(replayed->found.location().nan_count(), 6 * 3) << "of the first micro-batch, 3 samples";
  EXPECT_TRUE(replayed->reproduced);
  EXPECT_THAT(ReplayText(*replayed), HasSubstr("\nREPRODUCED\n"));
}

INSTANTIATE_TEST_SUITE_P(Precisions, BundledRunTest,
                         ::testing::Values("mode: FP32", "mode: BF16",
                                           "mode: FP16 loss_scale { preset: MEGATRON init: 64 }"),
                         [](const auto& info) { return "Case" + std::to_string(info.index); });

TEST_F(TrainingRunTest, NobodyWhoWantsNoBundleGetsOne) {
  run_ = std::make_unique<SmallRun>("iterations: 100", ConstantData(kNan));
  EXPECT_FALSE(Run().bundle.has_value());
  EXPECT_FALSE(std::filesystem::exists(BundleFolder()));
}

TEST_F(TrainingRunTest, ABundleThatCannotBeSavedIsAWarningAndNoMore) {
  run_ = std::make_unique<SmallRun>("iterations: 100", ConstantData(kNan));
  keeps_bundles_ = true;
  BreakStorage();
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.reason, v1::Reason::NUMERIC_FAILURE) << outcome.message;
  EXPECT_FALSE(outcome.bundle.has_value());
  EXPECT_THAT(Reasons(), Contains("BUNDLE_NOT_SAVED"));
}

TEST_F(TrainingRunTest, TheFirstSkipThatIsNewsIsKeptWhereItIsAskedForAndTheRunGoesOn) {
  FaultProbe probe;
  std::int64_t passes = 0;
  probe.Plant("head", nullptr,
              [&](const at::Tensor& gradient) { return ++passes == 31 ? WithElement(gradient, 1, kNan) : gradient; });
  SmallRunOptions options;
  options.probe = &probe;
  options.replay_after = 10;
  run_ = std::make_unique<SmallRun>("iterations: 40", std::move(options));
  lineage_ = spec::FirstLineage(run_->training().precision());
  keeps_bundles_ = true;
  keeps_first_skip_ = true;
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED);
  ASSERT_TRUE(outcome.bundle.has_value());
  EXPECT_EQ(outcome.bundle->manifest.iteration, 30);
  // The fault was of this process alone.
  const auto replayed = ReplayBundle(BundleFolder(), {});
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_FALSE(replayed->reproduced);
  EXPECT_THAT(ReplayText(*replayed), AllOf(HasSubstr("everything is finite here"), HasSubstr("NOT REPRODUCED")));
}

TEST_F(TrainingRunTest, GenerationZeroIsThereBeforeTheFirstIteration) {
  generation_zero_seed_ = 7;
  bool there = false;
  after_run_until_ = [&] { there = there || IsSaved("attempt-0001/step-00000000"); };
  const RunOutcome outcome = Run({}, std::make_unique<FakeControl>(1, /*checkpoint=*/true));
  EXPECT_TRUE(there);
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_THAT(announced_, ElementsAre("attempt-0001/step-00000000")) << "a stop before the first one saves no other";
}

TEST_F(TrainingRunTest, WithoutGenerationZeroNoIterationBegins) {
  generation_zero_seed_ = 7;
  BreakStorage();
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.reason, v1::Reason::CHECKPOINT_FAILED);
  EXPECT_EQ(outcome.result.iterations(), 0);
}

TEST_F(TrainingRunTest, SkipsGrowthAndPhasesAreEvents) {
  // 2^30 is far too much for FP16; the scale is found, and then grows.
  run_ = std::make_unique<SmallRun>(
      "model { mlp { hidden: 4 } } iterations: 100 "
      "precision { mode: FP16 loss_scale { init: 1073741824 growth_interval: 55 } }",
      OneClassData());
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED) << outcome.message;
  const std::vector<v1::JobEvent> events = EventsIn(segments_);
  EXPECT_EQ(events[0].reason(), "OVERFLOW");
  EXPECT_THAT(events[0].message(), HasSubstr("first in head.bias (3 Inf of 3); scale 1073741824 → 536870912"));
  EXPECT_EQ(events[0].overflow().parameters(0).name(), "head.bias");
  EXPECT_THAT(Reasons(), AllOf(Contains("SCALE_GROWN"), Contains("PHASE_CHANGED")));
  EXPECT_EQ(outcome.result.loss_scale(), run_->state().step_state().loss_scale);
  EXPECT_EQ(
      outcome.result.skipped_iterations(),
      std::count_if(events.begin(), events.end(), [](const v1::JobEvent& event) { return event.has_overflow(); }));
  // Records carry the phase that the events speak of.
  const std::vector<std::int64_t> phases = IntegersIn(segments_, v1::Column::PHASE);
  EXPECT_EQ(phases.front(), v1::Phase::CALIBRATING);
  EXPECT_EQ(phases.back(), v1::Phase::STEADY);
}

std::unique_ptr<Dataset> OneBadSample() {
  at::Tensor features = at::ones({32, 6});
  features[9][2] = kNan;
  return std::make_unique<FeatureDataset>(features, at::arange(32).remainder(3), 3);
}

TEST_F(TrainingRunTest, ASkipThatIsNewsIsReplayedAndItsEventSaysWhere) {
  for (const int in_flight : {1, 4}) {
    in_flight_ = in_flight;
    run_ = std::make_unique<SmallRun>("model { mlp { hidden: 4 } } accumulation: 2 iterations: 4",
                                      SmallRunOptions{.data = OneBadSample(), .replay_after = 100});
    const RunOutcome outcome = Run();
    EXPECT_EQ(outcome.state, v1::Attempt::SUCCEEDED) << outcome.message;
    EXPECT_EQ(outcome.result.skipped_iterations(), 1);
    int located = 0;
    for (const v1::JobEvent& event : EventsIn(segments_)) {
      if (!event.overflow().has_location()) continue;
      ++located;
      EXPECT_EQ(event.overflow().location().stage(), v1::OverflowLocation::INPUT);
      EXPECT_THAT(event.message(), HasSubstr("began in the input (1 NaN of 24) in micro-batch "));
    }
    EXPECT_EQ(located, 1);
    sink_ = std::make_unique<TelemetrySink>(conversation_.channel(), SinkOptions());
    MendStorage();
  }
}

TEST_F(TrainingRunTest, AStopThatFindsASkipInFlightStillReleasesItsHalt) {
  // The run ends with a checkpoint, from which another attempt goes on.
  in_flight_ = 4;
  run_ = std::make_unique<SmallRun>("model { mlp { hidden: 4 } }",
                                    SmallRunOptions{.data = ConstantData(kNan), .replay_after = 100});
  const RunOutcome outcome = Run({}, std::make_unique<FakeControl>(3, /*checkpoint=*/true));
  EXPECT_EQ(outcome.state, v1::Attempt::CANCELLED);
  EXPECT_EQ(outcome.message, "stopped at iteration 1") << "the second was in flight behind a halt";
  EXPECT_EQ(run_->state().step_state().halt, 0);
  EXPECT_TRUE(IsSaved("attempt-0001/step-00000000"));
}

TEST_F(TrainingRunTest, TheLastHeartbeatHasTheStatisticsOfTheWholeRun) {
  Run();
  v1::PrecisionStats last;
  for (const v1::TrainerReport& report : reports_) {
    if (report.has_heartbeat()) last = report.heartbeat().precision();
  }
  EXPECT_EQ(last.iterations(), 20);
  EXPECT_EQ(last.applied(), 20);
  EXPECT_EQ(last.window(), 20);
}

TEST_F(TrainingRunTest, ASkipInBf16IsFollowedByAdvice) {
  run_ = std::make_unique<SmallRun>("model { mlp { hidden: 4 } } iterations: 8 precision { mode: BF16 }",
                                    SmallRunOptions{.data = OneBadSample()});
  Run();
  const std::vector<std::string> reasons = Reasons();
  const auto skip = std::find(reasons.begin(), reasons.end(), "NAN_FORWARD");
  ASSERT_NE(skip, reasons.end());
  EXPECT_EQ(*(skip + 1), "ADVICE");
  EXPECT_EQ(std::count(reasons.begin(), reasons.end(), "ADVICE"), 1) << "once, though another skip came";
  for (const v1::JobEvent& event : EventsIn(segments_)) {
    if (event.has_advice()) {
      EXPECT_EQ(event.advice().rule(), "numerics_not_precision");
      EXPECT_EQ(event.message(), event.advice().message());
      EXPECT_GT(event.advice().evidence_size(), 0);
    }
  }
}

TEST_F(TrainingRunTest, RangesAreSampledAndSaid) {
  ranges_every_ = 15;
  Run();
  EXPECT_THAT(Reasons(), Contains("RANGES").Times(1));
}

TEST_F(TrainingRunTest, WithIterationsInFlightItEvaluatesAndSavesAtTheSamePlaces) {
  in_flight_ = 4;
  Run({.evaluate_every = 6, .checkpoint_every = 9, .has_evaluation = true});
  EXPECT_THAT(evaluated_at_, ElementsAre(6, 12, 18, 20));
  EXPECT_THAT(announced_,
              ElementsAre("attempt-0001/step-00000009", "attempt-0001/step-00000018", "attempt-0001/step-00000020"));
}

TEST_F(TrainingRunTest, MemoryIsSampledOnceASecond) {
  int slices = 0;
  after_run_until_ = [&] { clock_.Advance(std::chrono::milliseconds(++slices <= 4 ? 500 : 0)); };
  const RunOutcome outcome = Run({.checkpoint_every = 2});
  // Iterations are reported 0.5, 1, 1.5 and 2 s after the beginning: the first, and the third a second later.
  EXPECT_THAT(IntegersIn(segments_, v1::Column::MEMORY_BYTES), SizeIs(2));
  EXPECT_GE(outcome.result.peak_memory_bytes(), IntegersIn(segments_, v1::Column::MEMORY_BYTES)[0]);
}

TEST_F(TrainingRunTest, TimeAndRateAreThoseOfTheIterations) {
  const TickingClock clock(std::chrono::milliseconds(60));
  run_clock_ = &clock;
  const RunOutcome outcome = Run();
  EXPECT_EQ(outcome.result.training_time().seconds(), 1);
  EXPECT_NEAR(outcome.result.training_time().nanos(), 200'000'000, 1);  // 20 iterations; sums of doubles
  EXPECT_NEAR(outcome.result.samples_per_second(), 8 / 0.06, 1e-6);
}

TEST_F(TrainingRunTest, WithoutTimeThereIsNoRate) { EXPECT_FALSE(Run().result.has_samples_per_second()); }

TEST_F(TrainingRunTest, OnlyAScaledRunHasALossScaleInItsResult) { EXPECT_FALSE(Run().result.has_loss_scale()); }

}  // namespace
}  // namespace mantissa::trainer
