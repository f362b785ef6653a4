#include "worker/trainer/report/run_events.h"

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kTime = 1'790'000'000'000'000'007;

std::vector<Parameter> Parameters(int count = 2) {
  std::vector<Parameter> parameters;
  for (int i = 0; i < count; ++i) {
    Parameter parameter;
    parameter.shape.path = absl::StrCat("layers.", i, ".weight");
    parameter.shape.shape = {10, 128};
    parameters.push_back(parameter);
  }
  return parameters;
}

IterationReport Skip(SkipCause cause, std::vector<Offender> offenders) {
  IterationReport report;
  report.record.iteration = 3;
  report.record.time_unix_nanos = kTime;
  report.record.applied = false;
  report.record.cause = cause;
  report.record.loss_scale = 32768;
  report.record.next_loss_scale = 16384;
  report.offenders = std::move(offenders);
  return report;
}

TEST(RunEventsTest, ASkipNamesTheFirstParameterTheCountsAndTheScale) {
  const v1::JobEvent event = SkippedEvent(Skip(SkipCause::kOverflow, {{1, 17, 0}, {0, 0, 2}}), Parameters(), true);
  EXPECT_EQ(event.message(),
            "iteration 3 skipped: overflow, first in layers.1.weight (17 Inf of 1280); scale 32768 → 16384");
  EXPECT_EQ(event.reason(), "OVERFLOW");
  EXPECT_EQ(event.severity(), v1::JobEvent::WARNING);
  EXPECT_EQ(event.iteration(), 3);
  EXPECT_EQ(event.time().seconds(), 1'790'000'000);
  EXPECT_EQ(event.time().nanos(), 7);
  const v1::OverflowEvent& overflow = event.overflow();
  EXPECT_EQ(overflow.cause(), v1::SkipCause::OVERFLOW);
  EXPECT_EQ(overflow.loss_scale(), 32768);
  EXPECT_EQ(overflow.next_loss_scale(), 16384);
  EXPECT_EQ(overflow.parameter_count(), 2);
  ASSERT_EQ(overflow.parameters_size(), 2);
  EXPECT_EQ(overflow.parameters(0).name(), "layers.1.weight");
  EXPECT_EQ(overflow.parameters(0).inf_count(), 17);
  EXPECT_EQ(overflow.parameters(0).element_count(), 1280);
  EXPECT_EQ(overflow.parameters(1).name(), "layers.0.weight");
  EXPECT_EQ(overflow.parameters(1).nan_count(), 2);
}

TEST(RunEventsTest, NanAndInfAreCountedApart) {
  const auto message = [](const Offender& offender) {
    return SkippedEvent(Skip(SkipCause::kNanBackward, {offender}), Parameters(), false).message();
  };
  EXPECT_EQ(message({0, 0, 5}),
            "iteration 3 skipped: NaN in the backward pass, first in layers.0.weight (5 NaN of 1280)");
  EXPECT_EQ(message({0, 1, 5}),
            "iteration 3 skipped: NaN in the backward pass, first in layers.0.weight (1 Inf and 5 NaN of 1280)");
}

TEST(RunEventsTest, ALossThatIsNotFiniteNeedsNoParameterToBlame) {
  const v1::JobEvent event = SkippedEvent(Skip(SkipCause::kNanForward, {}), Parameters(), false);
  EXPECT_EQ(event.message(), "iteration 3 skipped: the loss is not finite");
  EXPECT_EQ(event.reason(), "NAN_FORWARD");
  EXPECT_EQ(event.overflow().cause(), v1::SkipCause::NAN_FORWARD);
  EXPECT_FALSE(event.overflow().has_loss_scale()) << "BF16 and FP32 have none";
  EXPECT_FALSE(event.overflow().has_next_loss_scale());
}

TEST(RunEventsTest, EachCauseHasItsReason) {
  EXPECT_EQ(SkippedEvent(Skip(SkipCause::kNanBackward, {}), Parameters(), false).reason(), "NAN_BACKWARD");
}

TEST(RunEventsTest, AScaleThatStaysIsNotSpokenOf) {
  IterationReport report = Skip(SkipCause::kOverflow, {});
  report.record.next_loss_scale = report.record.loss_scale;
  EXPECT_EQ(SkippedEvent(report, Parameters(), true).message(), "iteration 3 skipped: overflow");
}

TEST(RunEventsTest, SixteenParametersAreNamedAndAllAreCounted) {
  std::vector<Offender> offenders;
  for (std::size_t i = 0; i < 20; ++i) offenders.push_back({i, 1, 0});
  const v1::JobEvent event = SkippedEvent(Skip(SkipCause::kOverflow, offenders), Parameters(20), true);
  EXPECT_EQ(event.overflow().parameters_size(), 16);
  EXPECT_EQ(event.overflow().parameter_count(), 20);
}

TEST(RunEventsTest, GrowthSaysFromWhatToWhat) {
  IterationRecord record;
  record.iteration = 2000;
  record.loss_scale = 65536;
  record.next_loss_scale = 131072;
  const v1::JobEvent event = ScaleGrownEvent(record);
  EXPECT_EQ(event.message(), "scale 65536 → 131072");
  EXPECT_EQ(event.reason(), "SCALE_GROWN");
  EXPECT_EQ(event.severity(), v1::JobEvent::INFO);
  EXPECT_EQ(event.iteration(), 2000);
  EXPECT_EQ(event.scale_change().from(), 65536);
  EXPECT_EQ(event.scale_change().to(), 131072);
}

TEST(RunEventsTest, AScaleBelowOneKeepsItsDigits) {
  IterationRecord record;
  record.loss_scale = 0.00048828125;
  record.next_loss_scale = 0.0009765625;
  EXPECT_EQ(ScaleGrownEvent(record).message(), "scale 0.00048828125 → 0.0009765625");
}

TEST(RunEventsTest, OnlyAPhaseThatIsWorseIsAWarning) {
  IterationRecord record;
  record.iteration = 20;
  record.phase = Phase::kSteady;
  v1::JobEvent event = PhaseEvent(record, Phase::kCalibrating);
  EXPECT_EQ(event.message(), "precision CALIBRATING → STEADY");
  EXPECT_EQ(event.severity(), v1::JobEvent::INFO);
  EXPECT_EQ(event.reason(), "PHASE_CHANGED");
  EXPECT_EQ(event.phase_change().from(), v1::Phase::CALIBRATING);
  EXPECT_EQ(event.phase_change().to(), v1::Phase::STEADY);
  record.phase = Phase::kUnstable;
  event = PhaseEvent(record, Phase::kSteady);
  EXPECT_EQ(event.message(), "precision STEADY → UNSTABLE");
  EXPECT_EQ(event.severity(), v1::JobEvent::WARNING);
}

TEST(RunEventsTest, AnEvaluationSaysWhatItsDataHas) {
  v1::EvaluationResult result;
  result.set_step(40);
  result.set_loss(0.5);
  result.set_accuracy(0.958);
  const v1::JobEvent event = EvaluationEvent(kTime, 41, result);
  EXPECT_EQ(event.message(), "evaluation at step 40: loss 0.5000, accuracy 0.9580");
  EXPECT_EQ(event.reason(), "EVALUATED");
  EXPECT_EQ(event.iteration(), 41);
  EXPECT_EQ(event.evaluation().accuracy(), 0.958);
  result.clear_accuracy();
  result.set_perplexity(1.6487);
  EXPECT_EQ(EvaluationEvent(kTime, 41, result).message(), "evaluation at step 40: loss 0.5000, perplexity 1.649");
}

TEST(RunEventsTest, AStartSaysFromWhereOnlyWhenItIsAResume) {
  v1::TrainingStarted started;
  started.set_device("cpu");
  started.set_precision(v1::PrecisionSpec::BF16);
  started.set_parameter_count(21);
  started.set_total_iterations(690);
  v1::JobEvent event = StartedEvent(kTime, started);
  EXPECT_EQ(event.message(), "training 21 parameters for 690 iterations on cpu in BF16");
  EXPECT_EQ(event.reason(), "TRAINING_STARTED");
  EXPECT_EQ(event.started().total_iterations(), 690);
  started.set_resumed_from_step(200);
  EXPECT_EQ(StartedEvent(kTime, started).message(),
            "training 21 parameters for 690 iterations on cpu in BF16, from step 200");
}

TEST(RunEventsTest, ACheckpointSaysItsNameSizeAndTime) {
  v1::CheckpointEvent checkpoint;
  checkpoint.set_name("attempt-0001/step-00000200");
  checkpoint.set_size_bytes(39456);
  checkpoint.set_seconds(0.0125);
  const v1::JobEvent event = CheckpointSavedEvent(kTime, 203, checkpoint);
  EXPECT_EQ(event.message(), "checkpoint attempt-0001/step-00000200: 39456 bytes in 0.013 s");
  EXPECT_EQ(event.reason(), "CHECKPOINT_SAVED");
  EXPECT_EQ(event.iteration(), 203);
  EXPECT_EQ(event.checkpoint().size_bytes(), 39456);
}

TEST(RunEventsTest, AMicroBatchSaysWhatItTakesAndWhatDidNotFit) {
  v1::MicroBatchChosen chosen;
  chosen.set_micro_batch(16);
  chosen.set_accumulation(4);
  chosen.set_estimated_bytes(1000);
  chosen.set_free_bytes(5000);
  EXPECT_EQ(MicroBatchEvent(kTime, chosen).message(),
            "micro-batches of 16 samples, accumulation 4: about 1000 of 5000 free bytes");
  chosen.set_measured_peak_bytes(900);
  chosen.add_refused(64);
  chosen.add_refused(32);
  const v1::JobEvent event = MicroBatchEvent(kTime, chosen);
  EXPECT_EQ(event.message(),
            "micro-batches of 16 samples, accumulation 4: about 1000 of 5000 free bytes, 900 measured; 64, 32 did not "
            "fit");
  EXPECT_EQ(event.reason(), "MICRO_BATCH_CHOSEN");
  EXPECT_EQ(event.severity(), v1::JobEvent::INFO);
  EXPECT_EQ(event.micro_batch().micro_batch(), 16);
}

TEST(RunEventsTest, ReclaimingSaysWhatWasRemovedOrWhyItWasNot) {
  const v1::JobEvent removed = ReclaimedEvent(kTime, ReclaimedCheckpoints{2, 300});
  EXPECT_EQ(removed.message(), "removed 2 unfinished or uncommitted checkpoints (300 bytes) of earlier attempts");
  EXPECT_EQ(removed.reason(), "CHECKPOINTS_RECLAIMED");
  EXPECT_EQ(removed.severity(), v1::JobEvent::INFO);
  const v1::JobEvent not_removed = ReclaimedEvent(kTime, absl::UnavailableError("broken"));
  EXPECT_THAT(not_removed.message(), HasSubstr("could not be removed: broken; check the storage"));
  EXPECT_EQ(not_removed.reason(), "CHECKPOINTS_NOT_RECLAIMED");
  EXPECT_EQ(not_removed.severity(), v1::JobEvent::WARNING);
}

}  // namespace
}  // namespace mantissa::trainer
