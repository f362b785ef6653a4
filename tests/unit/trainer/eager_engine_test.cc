#include "worker/trainer/eager_engine.h"

#include <chrono>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/ticking_clock.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Boundary kFar = {.iteration = 1000, .step = 1000};

std::vector<std::int64_t> Iterations(const std::vector<IterationReport>& reports) {
  std::vector<std::int64_t> iterations;
  for (const IterationReport& report : reports) iterations.push_back(report.record.iteration);
  return iterations;
}

class EagerEngineTest : public ::testing::Test {
 protected:
  SmallRun run_;
  FakeControl control_;
  process::FakeClock clock_;
  EagerEngine engine_{run_.state(), run_.program(), clock_};
};

TEST_F(EagerEngineTest, RunsToTheBoundaryAndNotBeyond) {
  EXPECT_TRUE(engine_.RunUntil({.iteration = 3, .step = 100}, control_));
  EXPECT_EQ(run_.state().step_state().iteration, 3);
  EXPECT_TRUE(engine_.RunUntil({.iteration = 100, .step = 5}, control_));
  EXPECT_EQ(run_.state().step_state().iteration, 5);
}

TEST_F(EagerEngineTest, ABoundaryThatIsReachedAlreadyRunsNothing) {
  ASSERT_TRUE(engine_.RunUntil({.iteration = 3, .step = 100}, control_));
  engine_.Poll();
  EXPECT_TRUE(engine_.RunUntil({.iteration = 3, .step = 100}, control_));
  EXPECT_THAT(engine_.Poll(), IsEmpty());
}

TEST_F(EagerEngineTest, PollGivesEachReportOnceAndInOrder) {
  engine_.RunUntil({.iteration = 2, .step = 100}, control_);
  EXPECT_THAT(Iterations(engine_.Poll()), ElementsAre(1, 2));
  EXPECT_THAT(engine_.Poll(), IsEmpty());
  engine_.RunUntil({.iteration = 4, .step = 100}, control_);
  EXPECT_THAT(Iterations(engine_.Poll()), ElementsAre(3, 4));
}

TEST_F(EagerEngineTest, AStopEndsItBeforeTheNextIterationTakesEffect) {
  FakeControl control(3);
  EXPECT_FALSE(engine_.RunUntil(kFar, control));
  EXPECT_EQ(run_.state().step_state().iteration, 2);
  EXPECT_THAT(Iterations(engine_.Poll()), ElementsAre(1, 2));
}

TEST_F(EagerEngineTest, AHaltedRunGoesNoFurther) {
  StepState step = run_.state().step_state();
  step.halt = static_cast<std::int32_t>(Halt::kSkipsInRow);
  run_.state().iteration_state().WriteState(step);
  EXPECT_FALSE(engine_.RunUntil(kFar, control_));
  EXPECT_EQ(control_.questions(), 0);
  EXPECT_THAT(engine_.Poll(), IsEmpty());
}

TEST(EagerEngineHaltTest, TheIterationThatHaltsIsTheLastOne) {
  // NaN in, nothing but skipped iterations out: the 50th is the limit.
  SmallRun run("", ConstantData(std::numeric_limits<float>::quiet_NaN()));
  FakeControl control;
  const process::FakeClock clock;
  EagerEngine engine(run.state(), run.program(), clock);
  EXPECT_FALSE(engine.RunUntil(kFar, control));
  const std::vector<IterationReport> reports = engine.Poll();
  ASSERT_THAT(reports, SizeIs(50));
  EXPECT_EQ(reports[48].record.halt, Halt::kNone);
  EXPECT_EQ(reports[49].record.halt, Halt::kSkipsInRow);
}

TEST(EagerEngineBoundaryTest, AStepThatNoRunReachesIsNoBoundaryAlsoAfterASkip) {
  SmallRun run("precision { mode: FP16 loss_scale { init: 1099511627776 } }");
  FakeControl control;
  process::FakeClock clock;
  EagerEngine engine(run.state(), run.program(), clock);
  EXPECT_TRUE(engine.RunUntil({.iteration = 3, .step = std::numeric_limits<std::int64_t>::max()}, control));
  const std::vector<IterationReport> reports = engine.Poll();
  EXPECT_THAT(Iterations(reports), ElementsAre(1, 2, 3));
  EXPECT_FALSE(reports[0].record.applied);
}

TEST(EagerEngineSliceTest, ReturnsAfterAMillisecondWithTheBoundaryStillAhead) {
  SmallRun run;
  FakeControl control;
  const TickingClock clock(microseconds(400));
  EagerEngine engine(run.state(), run.program(), clock);
  EXPECT_FALSE(engine.RunUntil(kFar, control));
  EXPECT_THAT(Iterations(engine.Poll()), ElementsAre(1, 2, 3));  // 0.4, 0.8 and 1.2 ms after the beginning
  EXPECT_FALSE(engine.RunUntil(kFar, control));
  EXPECT_THAT(Iterations(engine.Poll()), ElementsAre(4, 5, 6));
}

TEST(EagerEngineSliceTest, ABoundaryReachedWithTheSlicesLastIterationIsReached) {
  SmallRun run;
  FakeControl control;
  const TickingClock clock(microseconds(400));
  EagerEngine engine(run.state(), run.program(), clock);
  EXPECT_TRUE(engine.RunUntil({.iteration = 3, .step = 100}, control));
}

TEST(EagerEngineRecordTest, ARecordSaysWhatTheIterationWasAndTook) {
  SmallRun run("data { train { synthetic { samples: 12 } } }");  // windows of 8 and 4
  RunSnapshot snapshot = run.state().Snapshot();
  snapshot.lineage = 3;
  ASSERT_TRUE(run.state().Restore(snapshot).ok());
  FakeControl control;
  const TickingClock clock(microseconds(400));
  EagerEngine engine(run.state(), run.program(), clock);
  engine.RunUntil({.iteration = 2, .step = 100}, control);
  const std::vector<IterationReport> reports = engine.Poll();
  ASSERT_THAT(reports, SizeIs(2));
  const IterationRecord& first = reports.at(0).record;
  EXPECT_EQ(first.lineage, 3);
  EXPECT_TRUE(first.applied);
  EXPECT_GT(first.loss, 0);
  EXPECT_DOUBLE_EQ(first.seconds, 0.0004);
  EXPECT_DOUBLE_EQ(first.samples_per_second, 8 / 0.0004);
  EXPECT_DOUBLE_EQ(reports.at(1).record.samples_per_second, 4 / 0.0004);
  EXPECT_THAT(reports.at(0).offenders, IsEmpty());
  EXPECT_EQ(reports.at(1).record.time_unix_nanos - first.time_unix_nanos, 400'000);
}

TEST_F(EagerEngineTest, AnIterationThatTookNoTimeHasNoRate) {
  engine_.RunUntil({.iteration = 1, .step = 100}, control_);
  EXPECT_EQ(engine_.Poll().at(0).record.samples_per_second, 0);
}

TEST_F(EagerEngineTest, RecordsDoNotStepBackWithTheWallClock) {
  engine_.RunUntil({.iteration = 1, .step = 100}, control_);
  const std::int64_t before = engine_.Poll().at(0).record.time_unix_nanos;
  EXPECT_EQ(before, std::chrono::nanoseconds(clock_.WallNow().time_since_epoch()).count());
  clock_.Advance(milliseconds(1));
  clock_.StepWall(-std::chrono::hours(2));
  engine_.RunUntil({.iteration = 2, .step = 100}, control_);
  EXPECT_EQ(engine_.Poll().at(0).record.time_unix_nanos - before, 1'000'000);
}

TEST(EagerEngineRecordTest, ASkippedIterationNamesItsOffenders) {
  SmallRun run("model { mlp { hidden: 8 } } precision { mode: FP16 loss_scale { init: 1e9 } }", OneClassData());
  FakeControl control;
  const process::FakeClock clock;
  EagerEngine engine(run.state(), run.program(), clock);
  engine.RunUntil({.iteration = 1, .step = 100}, control);
  const std::vector<IterationReport> reports = engine.Poll();
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_FALSE(reports.at(0).record.applied);
  EXPECT_FALSE(reports.at(0).record.grad_norm.has_value());
  ASSERT_FALSE(reports.at(0).offenders.empty());
  const auto& parameters = run.state().model().parameters().parameters();
  EXPECT_EQ(parameters[reports.at(0).offenders[0].parameter].shape.path, "head.bias");  // backward order
  EXPECT_EQ(reports.at(0).offenders[0].inf_count, 3);
}

}  // namespace
}  // namespace mantissa::trainer
