#include "worker/trainer/training_run.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "tests/unit/trainer/training_run_fixture.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

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
