#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/lineage.h"
#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/training_run_fixture.h"
#include "worker/trainer/training_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

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

}  // namespace
}  // namespace mantissa::trainer
