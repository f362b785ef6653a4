#include "worker/amp/iteration_record.h"

#include "gtest/gtest.h"

namespace mantissa::trainer {
namespace {

StepState AfterAnIteration() {
  StepState state;
  state.iteration = 12;
  state.step = 10;
  state.loss_scale = 64;
  state.used_loss_scale = 32;
  state.growth_tracker = 5;
  state.hysteresis_tracker = 2;
  state.loss = 0.75;
  state.grad_norm = 3.5;
  state.learning_rate = 1e-3;
  return state;
}

TEST(IterationRecordTest, AnAppliedIterationSaysItAll) {
  const IterationRecord record = RecordFrom(AfterAnIteration());
  EXPECT_EQ(record.iteration, 12);
  EXPECT_EQ(record.step, 10);
  EXPECT_EQ(record.loss, 0.75);
  EXPECT_EQ(record.loss_scale, 32);       // it ran with
  EXPECT_EQ(record.next_loss_scale, 64);  // of the next one
  EXPECT_TRUE(record.applied);
  EXPECT_EQ(record.cause, SkipCause::kNone);
  EXPECT_EQ(record.grad_norm, 3.5);
  EXPECT_EQ(record.learning_rate, 1e-3);
  EXPECT_EQ(record.growth_tracker, 5);
  EXPECT_EQ(record.hysteresis_tracker, 2);
  EXPECT_EQ(record.halt, Halt::kNone);
}

TEST(IterationRecordTest, ASkippedIterationHasACauseAndNoNorm) {
  for (const SkipCause cause : {SkipCause::kOverflow, SkipCause::kNanForward, SkipCause::kNanBackward}) {
    StepState state = AfterAnIteration();
    state.found_inf = 1;
    state.cause = static_cast<std::int32_t>(cause);
    const IterationRecord record = RecordFrom(state);
    EXPECT_FALSE(record.applied);
    EXPECT_EQ(record.cause, cause);
    EXPECT_FALSE(record.grad_norm.has_value());
  }
}

TEST(IterationRecordTest, CarriesTheReasonOfAHalt) {
  for (const Halt halt : {Halt::kScaleAtFloor, Halt::kSkipsInRow, Halt::kScaleTooSmall}) {
    StepState state = AfterAnIteration();
    state.halt = static_cast<std::int32_t>(halt);
    EXPECT_EQ(RecordFrom(state).halt, halt);
  }
}

}  // namespace
}  // namespace mantissa::trainer
