#include "worker/trainer/replay.h"

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/eager_engine.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Stage = FaultLocation::Stage;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Boundary kFar = {.iteration = 1000, .step = 1000};

// Trains to the first halt, and gives its report.
IterationReport ToHalt(SmallRun& run, int in_flight = 1) {
  FakeControl control;
  const process::FakeClock clock;
  EagerEngine engine(run.state(), run.program(), clock, {.in_flight = in_flight});
  EXPECT_FALSE(engine.RunUntil(kFar, control));
  const std::vector<IterationReport> reports = engine.Poll();
  EXPECT_FALSE(reports.empty());
  return reports.empty() ? IterationReport() : reports.back();
}

std::unique_ptr<Dataset> DataWithOneBadSample() {
  at::manual_seed(3);
  at::Tensor features = at::randn({32, 6});
  features[9][2] = kInf;
  return std::make_unique<FeatureDataset>(features, at::arange(32).remainder(3), 3);
}

TEST(ReplayTest, NamesInputAndMicroBatchAndReleasesTheHalt) {
  SmallRun run("model { mlp { hidden: 4 } } accumulation: 2", {.data = DataWithOneBadSample(), .replay_after = 1});
  const IterationReport report = ToHalt(run);
  ASSERT_EQ(report.record.halt, Halt::kReplay);
  const auto before = BitsOf(run.state());
  FakeControl control;
  Replay replay(run.state(), run.program());
  const std::optional<FaultLocation> location = replay.Locate(report.record, control);
  ASSERT_TRUE(location.has_value());
  EXPECT_EQ(location->stage, Stage::kInput);
  EXPECT_EQ(location->inf_count, 1);
  EXPECT_EQ(location->nan_count, 0);
  EXPECT_EQ(location->element_count, 4 * 6);
  EXPECT_EQ(location->micro_batches, 2);
  std::vector<std::int64_t> samples;
  run.plan().MicroBatch(report.record.iteration - 1, location->micro_batch, samples);
  EXPECT_THAT(samples, ::testing::Contains(9));
  EXPECT_EQ(run.state().step_state().halt, 0);
  EXPECT_THAT(Differences(BitsOf(run.state()), before), ElementsAre("scaler")) << "the halt alone is gone";
}

struct Course {
  std::vector<std::string> records;
  std::map<std::string, std::string> bits;
  int replays = 0;
};

// To iteration 300, whatever halts for a replay on the way.
Course Train(const std::string& changes, std::int32_t replay_after, int in_flight) {
  Course course;
  SmallRun run(changes, {.data = DataWithOneBadSample(), .replay_after = replay_after});
  FakeControl control;
  const process::FakeClock clock;
  EagerEngine engine(run.state(), run.program(), clock, {.in_flight = in_flight});
  Replay replay(run.state(), run.program());
  while (engine.progress().iteration < 300) {
    engine.RunUntil({.iteration = 300, .step = 1000}, control);
    for (const IterationReport& report : engine.Poll()) {
      course.records.push_back(absl::StrCat(
          report.record.iteration, " ", report.record.step, " ",
          absl::Hex(std::bit_cast<std::uint64_t>(report.record.loss)), " ", report.record.next_loss_scale, " ",
          absl::Hex(std::bit_cast<std::uint64_t>(report.record.grad_norm.value_or(-1))), " ", report.record.applied));
      if (report.record.halt == Halt::kNone) continue;
      if (report.record.halt != Halt::kReplay) {
        ADD_FAILURE() << "halted by a limit at iteration " << report.record.iteration;
        return course;
      }
      ++course.replays;
      EXPECT_TRUE(replay.Locate(report.record, control).has_value());
    }
  }
  course.bits = BitsOf(run.state());
  return course;
}

TEST(ReplayTest, TrainingGoesOnWithTheBitsOfARunWithoutIt) {
  for (const std::string mode : {"FP32", "BF16", "FP16"}) {
    for (const std::string model :
         {"mlp { hidden: 12 dropout: 0.25 }", "transformer_encoder { layers: 1 d_model: 8 heads: 2 dropout: 0.25 }"}) {
      for (const int accumulation : {1, 3}) {
        const std::string changes =
            absl::StrCat("model { ", model, " } iterations: 300 batch_size: 6 accumulation: ", accumulation,
                         " precision { mode: ", mode, " loss_scale { init: 1e9 growth_interval: 3 } }");
        SCOPED_TRACE(changes);
        const Course without = Train(changes, 0, 1);
        EXPECT_EQ(without.replays, 0);
        for (const int in_flight : {1, 4}) {
          const Course with = Train(changes, 3, in_flight);
          EXPECT_GE(with.replays, Replay::kMost);
          EXPECT_EQ(with.records, without.records);
          EXPECT_THAT(Differences(with.bits, without.bits), IsEmpty());
        }
      }
    }
  }
}

TEST(ReplayTest, NoMoreThanAFewInAThousandIterations) {
  // 6 windows an epoch, one of them bad: 50 chances in 300 iterations.
  EXPECT_EQ(Train("model { mlp {} } iterations: 300 batch_size: 6", 3, 1).replays, Replay::kMost);
}

TEST(ReplayTest, AStopInTheMiddleReleasesTheHaltAndSaysNothing) {
  SmallRun run("accumulation: 4", {.data = DataWithOneBadSample(), .replay_after = 1});
  const IterationReport report = ToHalt(run);
  FakeControl control(1);
  EXPECT_FALSE(Replay(run.state(), run.program()).Locate(report.record, control).has_value());
  EXPECT_EQ(run.state().step_state().halt, 0);
  EXPECT_EQ(run.state().step_state().loss_scale, report.record.next_loss_scale);
}

TEST(ReplayTest, RunsWithTheScaleThatTheIterationHad) {
  // Overflows at the scale it ran with, and would not at the one it left.
  SmallRun run("model { mlp { hidden: 8 } } precision { mode: FP16 loss_scale { init: 64 backoff_factor: 1e-6 } }",
               {.data = OneClassData(), .replay_after = 1});
  run.TrainTo(2);
  StepState step = run.state().step_state();
  step.loss_scale = 0x1p30f;
  run.state().iteration_state().WriteState(step);
  const IterationReport report = ToHalt(run);
  ASSERT_EQ(report.record.halt, Halt::kReplay);
  FakeControl control;
  const auto location = Replay(run.state(), run.program()).Locate(report.record, control);
  ASSERT_TRUE(location.has_value());
  EXPECT_EQ(location->stage, Stage::kActivationGradient);
  EXPECT_EQ(location->module, "head");
  EXPECT_EQ(run.state().step_state().loss_scale, report.record.next_loss_scale);
}

TEST(ReplayTest, AFaultThatDoesNotHappenAgainIsSaidToBeNone) {
  FaultProbe probe;
  SmallRun run("model { mlp { hidden: 4 } }", {.probe = &probe, .replay_after = 1});
  run.TrainTo(2);
  probe.Plant(
      "head", [](const at::Tensor& output) { return WithElement(output, 0, kInf); }, nullptr);
  const IterationReport report = ToHalt(run);
  probe.Plant("", nullptr, nullptr);  // a bit that flipped once
  FakeControl control;
  const auto location = Replay(run.state(), run.program()).Locate(report.record, control);
  ASSERT_TRUE(location.has_value());
  EXPECT_EQ(location->stage, Stage::kNotReproduced);
}

TEST(ReplayTest, InfinitiesThatMeetInASumAreAnOverflowAllTheSame) {
  // Both signs in one column of the gradient: the bias's sum is NaN, and so is every weight's.
  FaultProbe probe;
  SmallRun run("model { mlp {} }", {.data = OneClassData(), .probe = &probe, .replay_after = 1});
  run.TrainTo(2);
  probe.Plant("head", nullptr, [](const at::Tensor& gradient) {
    at::Tensor signs = at::full_like(gradient, kInf);
    signs.narrow(0, 0, 1).fill_(-kInf);
    return signs;
  });
  const IterationReport report = ToHalt(run);
  EXPECT_EQ(report.record.cause, SkipCause::kNanBackward);
  FakeControl control;
  const auto location = Replay(run.state(), run.program()).Locate(report.record, control);
  ASSERT_TRUE(location.has_value());
  EXPECT_EQ(location->stage, Stage::kActivationGradient);
  EXPECT_EQ(CauseAt(*location, report.record.cause), SkipCause::kOverflow);
  EXPECT_EQ(CauseAt(*location, SkipCause::kNanForward), SkipCause::kNanForward);
}

TEST(ReplayTest, NanAloneStaysNan) {
  FaultLocation location;
  location.nan_count = 3;
  EXPECT_EQ(CauseAt(location, SkipCause::kNanBackward), SkipCause::kNanBackward);
}

// Counts its forward passes, as batch norm keeps statistics.
class CountingModel final : public Model {
 public:
  CountingModel(const v1::Model& model, const spec::SampleShape& sample)
      : Model(spec::ModelParameters(model, sample), at::kCPU), head_(parameters_.LinearAt("head")) {
    statistics_ = RunningStatistics({{"passes", {1}, spec::ParameterKind::kNorm}}, at::kCPU);
  }
  at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) override {
    statistics_.pending("passes").add_(1);
    return context.Linear(head_, input);
  }

 private:
  LinearParameters head_;
};

TEST(ReplayTest, RunningStatisticsStayAsTheyWere) {
  const SmallRun plan("accumulation: 2");
  const auto data = DataWithOneBadSample();
  ScalerSettings scaler = ScalerSettingsFrom(plan.training().precision(), 1);
  scaler.replay_after = 1;
  RunState state(std::make_unique<CountingModel>(plan.training().model(), data->shape().sample),
                 {plan.training().optimizer(), plan.training().schedule(), 20, scaler}, at::kCPU);
  StepProgram program(state, {*data, plan.plan(), plan.policy(), 0});
  FakeControl control;
  while (state.step_state().halt == 0) ASSERT_TRUE(program.Run(state.step_state().iteration, control));
  const auto before = BytesIn(state.model().buffers()[0].tensor);
  EXPECT_TRUE(Replay(state, program).Locate(RecordFrom(state.step_state()), control).has_value());
  EXPECT_EQ(BytesIn(state.model().buffers()[0].tensor), before);
}

}  // namespace
}  // namespace mantissa::trainer
