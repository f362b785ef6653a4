// Recorded iterations: the same bits and records as the eager engine's, one launch each, and every way in which a
// recording can fail.
#include "worker/trainer/graph/graph_engine.h"

#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/course.h"
#include "tests/unit/trainer/fake_recorder.h"
#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "worker/trainer/eager_engine.h"

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Boundary kFar = {.iteration = 1000, .step = 1000};

std::unique_ptr<GraphEngine> Recorded(SmallRun& run, const FakeRecorder& device, const process::Clock& clock,
                                      int in_flight = 4) {
  auto engine = GraphEngine::Record(run.state(), run.program(), device.functions(), clock, {.in_flight = in_flight});
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

class GraphEngineCourseTest : public ::testing::TestWithParam<std::tuple<std::string, std::string, int>> {};

TEST_P(GraphEngineCourseTest, ItsBitsAndRecordsAreThoseOfTheEagerEngine) {
  const auto& [mode, model, accumulation] = GetParam();
  const Subject& subject = Subjects().at(model);
  // 96 samples in windows of 10: the last window of a pass has six.
  const std::string changes =
      absl::StrCat(subject.spec, " batch_size: 10 accumulation: ", accumulation,
                   " iterations: 60 schedule { cosine { warmup_steps: 20 } } precision { mode: ", mode,
                   " loss_scale { init: 1e9 growth_interval: 7 } }");
  const BoundaryPlanOptions boundaries{
      .iterations = 60, .evaluate_every = 7, .checkpoint_every = 10, .has_evaluation = true};
  // A rollback has left windows out.
  v1::Lineage lineage;
  for (const auto& [first, last] : {std::pair{3, 4}, {11, 11}, {30, 37}}) {
    v1::IndexRange& range = *lineage.add_skipped_windows();
    range.set_first(first);
    range.set_last(last);
  }
  const auto options = [&, &shape = subject.shape] {
    SmallRunOptions made;
    if (!shape.empty()) made.data = DataWithBadSamples(shape);
    made.lineage = lineage;
    return made;
  };
  const process::FakeClock still;
  SmallRun eager(changes, options());
  EagerEngine engine(eager.state(), eager.program(), still);
  const Course expected = Follow(eager, engine, boundaries);
  ASSERT_THAT(expected.reports, SizeIs(60));
  if (!subject.shape.empty()) {
    EXPECT_LT(expected.end.step, 60) << "nothing was skipped, so nothing was shown";
  }
  for (const auto pace : {FakeRecorder::Pace::kAtOnce, FakeRecorder::Pace::kLater}) {
    for (const int in_flight : {1, 4}) {
      SCOPED_TRACE(in_flight);
      FakeRecorder device(pace);
      SmallRun run(changes, options());
      // Slices that end with iterations in flight.
      const TickingClock ticking(std::chrono::microseconds(400));
      const auto recorded = Recorded(run, device, ticking, in_flight);
      ExpectSame(Follow(run, *recorded, boundaries), expected);
      EXPECT_EQ(device.launches(), 60);
      EXPECT_EQ(device.records(), 2) << "one for each size of a window";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, GraphEngineCourseTest,
                         ::testing::Combine(::testing::Values("FP32", "BF16", "FP16"),
                                            ::testing::Values("mlp", "transformer", "gpt", "convnet"),
                                            ::testing::Values(1, 3)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), std::get<1>(info.param),
                                               std::get<2>(info.param));
                         });

TEST(GraphEngineHaltTest, IterationsInFlightBehindAHaltChangeNothing) {
  const process::FakeClock clock;
  // 32 samples in windows of 5: behind the halt there may be a window of another size.
  const std::string changes = "batch_size: 5 iterations: 100 precision { mode: FP16 loss_scale { init: 2 } }";
  const float nan = std::numeric_limits<float>::quiet_NaN();
  SmallRun eager(changes, ConstantData(nan));
  EagerEngine engine(eager.state(), eager.program(), clock);
  const Course expected = Follow(eager, engine, {.iterations = 100});
  ASSERT_NE(expected.end.halt, 0);
  FakeRecorder device(FakeRecorder::Pace::kLater);
  SmallRun run(changes, ConstantData(nan));
  const auto recorded = Recorded(run, device, clock);
  ExpectSame(Follow(run, *recorded, {.iterations = 100}), expected);
}

TEST(GraphEngineTest, ARecordingChangesNoBitOfTheRun) {
  FakeRecorder device;
  const process::FakeClock clock;
  SmallRun run("model { mlp { hidden: 5 dropout: 0.5 } } precision { mode: FP16 }");
  run.TrainTo(3);
  const auto before = BitsOf(run.state());
  const StepState step = run.state().step_state();
  const auto engine = Recorded(run, device, clock);
  EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
  const StepState after = run.state().step_state();
  EXPECT_EQ(std::memcmp(&after, &step, sizeof(step)), 0);
  EXPECT_EQ(engine->progress().iteration, 3);
  EXPECT_THAT(engine->Poll(), IsEmpty()) << "a rehearsal is no iteration";
}

TEST(GraphEngineTest, ARunMayBeWrittenToAtABoundary) {
  FakeRecorder device;
  const process::FakeClock clock;
  FakeControl control;
  SmallRun run;
  const auto engine = Recorded(run, device, clock);
  ASSERT_TRUE(engine->RunUntil({.iteration = 3, .step = 1000}, control));
  const RunSnapshot at_three = run.state().Snapshot();
  ASSERT_TRUE(engine->RunUntil({.iteration = 6, .step = 1000}, control));
  const auto at_six = BitsOf(run.state());
  ASSERT_TRUE(run.state().Restore(at_three).ok());
  EXPECT_EQ(engine->progress().iteration, 3);
  ASSERT_TRUE(engine->RunUntil({.iteration = 6, .step = 1000}, control));
  EXPECT_THAT(Differences(BitsOf(run.state()), at_six), IsEmpty());
}

TEST(GraphEngineTest, AfterAStopEverythingStartedIsKnownOnceDrained) {
  FakeRecorder device(FakeRecorder::Pace::kLater);
  const process::FakeClock clock;
  SmallRun run;
  const auto engine = Recorded(run, device, clock);
  FakeControl control(/*stop_at=*/9);
  EXPECT_FALSE(engine->RunUntil(kFar, control));
  engine->Drain();
  EXPECT_EQ(engine->progress().iteration, 8);
  EXPECT_THAT(engine->Poll(), SizeIs(8));
  SmallRun undisturbed;
  undisturbed.TrainTo(8);
  EXPECT_THAT(Differences(BitsOf(run.state()), BitsOf(undisturbed.state())), IsEmpty());
}

TEST(GraphEngineTest, AnEngineThatGoesWaitsForWhatIsInFlight) {
  FakeRecorder device(FakeRecorder::Pace::kLater);
  const process::FakeClock clock;
  SmallRun run;
  FakeControl control(/*stop_at=*/4);
  Recorded(run, device, clock)->RunUntil(kFar, control);
  EXPECT_EQ(run.state().step_state().iteration, 3);
}

std::string WhyNot(SmallRun& run, const FakeRecorder& device) {
  const process::FakeClock clock;
  const auto before = BitsOf(run.state());
  const auto engine = GraphEngine::Record(run.state(), run.program(), device.functions(), clock);
  EXPECT_TRUE(absl::IsFailedPrecondition(engine.status())) << engine.status();
  EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty()) << "halt included";
  return std::string(engine.status().message());
}

TEST(GraphEngineFailureTest, WhatCannotBeRecordedIsSaidAndChangesNothing) {
  FakeRecorder device;
  SmallRun run;
  device.recordings_that_work = 0;
  EXPECT_THAT(WhyNot(run, device), HasSubstr("no more graphs"));
  device.memory_error = "no memory to share";
  EXPECT_THAT(WhyNot(run, device), HasSubstr("no memory to share"));
}

TEST(GraphEngineFailureTest, AGraphThatLeavesNoRoomForWhatRunsBesideItIsNotKept) {
  FakeRecorder device;
  SmallRun run;
  device.pool_bytes = std::int64_t{1} << 60;
  EXPECT_THAT(WhyNot(run, device), HasSubstr("a graph keeps 1.0 EiB for itself"));
  EXPECT_EQ(device.records(), 1);
}

TEST(GraphEngineFailureTest, AWindowOfVeryManyMicroBatchesIsNotUnrolled) {
  FakeRecorder device;
  const std::string data = "data { train { synthetic { samples: 300 } } } ";
  SmallRun many(data + "batch_size: 257 accumulation: 257");
  EXPECT_THAT(WhyNot(many, device), HasSubstr("has 257 micro-batches, and at most 256"));
  SmallRun most(data + "batch_size: 256 accumulation: 256");
  const process::FakeClock clock;
  Recorded(most, device, clock);
  EXPECT_EQ(device.records(), 1);
}

TEST(GraphEngineFailureTest, DataThatCannotBeGatheredOnTheDeviceAreAReason) {
  FakeRecorder device;
  SmallRun run("", std::make_unique<WatchedData>(ConstantData(1)));
  EXPECT_THAT(WhyNot(run, device), HasSubstr("the data do not lie on the device"));
}

TEST(GraphEngineFailureTest, WhatFailsOnlyWhileItIsRecordedIsToldByItsOwnWords) {
  // A device that runs what it records, and a model that fails in the fourth run.
  FakeRecorder device;
  MantissaRecorder functions = device.functions();
  functions.record = [](MantissaWork work, void* context, MantissaGraph*, MantissaGraph**, char*, std::int64_t) {
    return work(context);
  };
  FaultProbe probe;
  int passes = 0;
  probe.Plant(
      "head",
      [&](const at::Tensor& output) {
        TORCH_CHECK(++passes < 4, "out of everything");
        return output;
      },
      nullptr);
  SmallRunOptions options;
  options.probe = &probe;
  SmallRun run("", std::move(options));
  const process::FakeClock clock;
  const auto engine = GraphEngine::Record(run.state(), run.program(), functions, clock);
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr("out of everything"));
  EXPECT_EQ(run.state().step_state().halt, 0);
}

TEST(GraphEngineFailureTest, AShortWindowThatCannotBeRecordedIsRunByItsOperations) {
  FakeRecorder device;
  device.recordings_that_work = 1;
  const process::FakeClock clock;
  FakeControl control;
  SmallRun run("batch_size: 5");  // 32 samples: every seventh window has two
  const auto engine = Recorded(run, device, clock);
  while (!engine->RunUntil({.iteration = 20, .step = 1000}, control)) {
  }
  EXPECT_EQ(device.launches(), 18);
  SmallRun eager("batch_size: 5");
  eager.TrainTo(20);
  EXPECT_THAT(Differences(BitsOf(run.state()), BitsOf(eager.state())), IsEmpty());
}

std::string Failure(FakeRecorder& device) {
  const process::FakeClock clock;
  SmallRun run;
  FakeControl control;
  FakeRecorder& failing = device;
  const auto engine = Recorded(run, failing, clock);
  return [&]() -> std::string {
    try {
      engine->RunUntil(kFar, control);
    } catch (const c10::Error& error) {
      return error.msg();
    }
    return "nothing was thrown";
  }();
}

TEST(GraphEngineFailureTest, ALaunchThatIsRefusedEndsTheRunWithItsReason) {
  FakeRecorder device;
  device.launch_error = "the driver is gone";
  EXPECT_THAT(Failure(device), HasSubstr("could not be launched: the driver is gone"));
}

TEST(GraphEngineFailureTest, ADeviceThatFailsIsNotWaitedForForEver) {
  FakeRecorder device;
  device.works = false;
  device.failure = "an illegal address";
  EXPECT_THAT(Failure(device), HasSubstr("the device failed in an iteration: an illegal address"));
}

TEST(GraphEngineFailureTest, NorIsARecordThatNeverComes) {
  FakeRecorder device;
  device.works = false;
  EXPECT_THAT(Failure(device), HasSubstr("ended an iteration without a record"));
}

TEST(GraphEngineTest, ItTakesItsMemoryFromTheGraphs) {
  FakeRecorder device;
  const process::FakeClock clock;
  FakeControl control;
  SmallRun run("batch_size: 5");
  const auto engine = Recorded(run, device, clock);
  EXPECT_EQ(engine->pool_bytes(), std::int64_t{3} << 20);
  while (!engine->RunUntil({.iteration = 7, .step = 1000}, control)) {
  }
  EXPECT_EQ(engine->pool_bytes(), std::int64_t{6} << 20);
}

TEST(GraphEngineTimeTest, IterationsBehindOneAnotherAreTimedByTheDevicesClock) {
  FakeRecorder device;
  const process::FakeClock clock;
  FakeControl control;
  SmallRun run;
  const auto engine = Recorded(run, device, clock);
  // A device whose clock moves on by 2 ms an iteration.
  const std::int64_t slot_bytes =
      RecordBytes(static_cast<std::int64_t>(run.state().model().parameters().parameters().size()));
  device.after_work = [&] {
    const std::int64_t published = 3 + device.launches();  // rehearsals, too
    auto& record = *reinterpret_cast<StepRecord*>(device.mapped() + (published - 1) % 4 * slot_bytes);
    EXPECT_EQ(record.sequence, static_cast<std::uint64_t>(published));
    record.device_nanos = published * 2'000'000;
  };
  ASSERT_TRUE(engine->RunUntil({.iteration = 6, .step = 1000}, control));
  const auto reports = engine->Poll();
  ASSERT_THAT(reports, SizeIs(6));
  EXPECT_EQ(reports[0].record.seconds, 0) << "by the host's clock, which stands still";
  for (std::size_t i = 1; i < 6; ++i) {
    EXPECT_DOUBLE_EQ(reports[i].record.seconds, 0.002);
    EXPECT_DOUBLE_EQ(reports[i].record.samples_per_second, 8 / 0.002);
  }
}

TEST(GraphEngineOptionsTest, FewerThanOneOrMoreThanFourInFlightAreRefused) {
  FakeRecorder device;
  const process::FakeClock clock;
  SmallRun run;
  for (const int in_flight : {0, 5}) {
    EXPECT_FALSE(
        GraphEngine::Record(run.state(), run.program(), device.functions(), clock, {.in_flight = in_flight}).ok());
  }
}

}  // namespace
}  // namespace mantissa::trainer
