// A host that learns of iterations late: the same bits, the same records, and nothing beyond a boundary.
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/course.h"
#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "worker/trainer/eager_engine.h"

namespace mantissa::trainer {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Course Follow(SmallRun& run, int in_flight, const BoundaryPlanOptions& boundaries, const process::Clock& clock) {
  EagerEngine engine(run.state(), run.program(), clock, {.in_flight = in_flight});
  return mantissa::trainer::Follow(run, engine, boundaries);
}

class InFlightTest : public ::testing::TestWithParam<std::tuple<std::string, std::string, int>> {};

TEST_P(InFlightTest, OneAndFourGiveTheSameBitsAndTheSameRecords) {
  const auto& [mode, model, accumulation] = GetParam();
  const Subject& subject = Subjects().at(model);
  const std::string changes =
      absl::StrCat(subject.spec, " batch_size: 6 accumulation: ", accumulation,
                   " iterations: 120 schedule { cosine { warmup_steps: 20 } } ", "precision { mode: ", mode,
                   " loss_scale { init: 1e9 growth_interval: 7 } }");
  // Boundaries at two paces, which skipped iterations move.
  const BoundaryPlanOptions boundaries{
      .iterations = 120, .evaluate_every = 7, .checkpoint_every = 10, .has_evaluation = true};
  const process::FakeClock still;
  const auto follow = [&](int in_flight, const process::Clock& clock) {
    // Tokens are always finite: there it is the gradient of the logits that is not, in every 17th pass.
    FaultProbe probe;
    std::int64_t passes = 0;
    probe.Plant("head", nullptr, [&](const at::Tensor& gradient) {
      return ++passes % 17 == 0 ? WithElement(gradient, 1, std::numeric_limits<double>::infinity()) : gradient;
    });
    SmallRunOptions options;
    if (subject.shape.empty()) {
      options.probe = &probe;
    } else {
      options.data = DataWithBadSamples(subject.shape);
    }
    SmallRun run(changes, std::move(options));
    return Follow(run, in_flight, boundaries, clock);
  };
  const Course prompt = follow(1, still);
  ASSERT_THAT(prompt.reports, SizeIs(120));
  EXPECT_GE(prompt.end.iteration - prompt.end.step, 7) << "nothing was skipped, so nothing was shown";
  EXPECT_GT(prompt.end.step, 60);
  EXPECT_GT(prompt.boundaries.size(), 15u);
  for (const int in_flight : {2, 4}) {
    SCOPED_TRACE(in_flight);
    ExpectSame(follow(in_flight, still), prompt);
    // Slices that end with iterations in flight.
    const TickingClock ticking(std::chrono::microseconds(400));
    ExpectSame(follow(in_flight, ticking), prompt);
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, InFlightTest,
                         ::testing::Combine(::testing::Values("FP32", "BF16", "FP16"),
                                            ::testing::Values("mlp", "transformer", "gpt", "convnet"),
                                            ::testing::Values(1, 3)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), std::get<1>(info.param),
                                               std::get<2>(info.param));
                         });

TEST(InFlightHaltTest, IterationsInFlightBehindAHaltChangeNothing) {
  // Each of the limits, in the precision that has it.
  const std::vector<std::pair<std::string, Halt>> limits = {
      {"iterations: 100", Halt::kSkipsInRow},
      {"iterations: 100 precision { mode: BF16 }", Halt::kSkipsInRow},
      {"iterations: 100 precision { mode: FP16 loss_scale { preset: DEEPSPEED init: 2 hysteresis: 1 } }",
       Halt::kScaleAtFloor},
      {"iterations: 100 precision { mode: FP16 loss_scale { init: 2 } }", Halt::kScaleTooSmall},
      {"iterations: 100 precision { mode: FP16 on_failure: CLAMP loss_scale { preset: MEGATRON init: 2 } }",
       Halt::kSkipsInRow}};
  for (const auto& [changes, halt] : limits) {
    SCOPED_TRACE(changes);
    const process::FakeClock clock;
    const auto follow = [&](int in_flight) {
      SmallRun run(changes, ConstantData(kNan));
      return Follow(run, in_flight, {.iterations = 100}, clock);
    };
    const Course prompt = follow(1);
    EXPECT_EQ(static_cast<Halt>(prompt.end.halt), halt);
    EXPECT_LT(prompt.end.iteration, 100);
    ExpectSame(follow(4), prompt);
  }
}

TEST(InFlightStopTest, AfterAStopEverythingStartedIsKnownOnceDrained) {
  for (const int question : {1, 3, 4, 9, 18}) {
    SmallRun run("accumulation: 2");
    FakeControl control(question);
    const process::FakeClock clock;
    EagerEngine engine(run.state(), run.program(), clock, {.in_flight = 4});
    EXPECT_FALSE(engine.RunUntil({.iteration = 1000, .step = 1000}, control));
    engine.Drain();
    const std::int64_t whole = (question - 1) / 2;
    EXPECT_EQ(engine.progress().iteration, whole);
    EXPECT_THAT(engine.Poll(), SizeIs(whole));
    SmallRun undisturbed("accumulation: 2");
    undisturbed.TrainTo(whole);
    EXPECT_THAT(Differences(BitsOf(run.state()), BitsOf(undisturbed.state())), IsEmpty()) << question;
  }
}

TEST(InFlightStopTest, UntilThenTheHostDoesNotKnowOfTheNewest) {
  SmallRun run;
  FakeControl control(5);
  const process::FakeClock clock;
  EagerEngine engine(run.state(), run.program(), clock, {.in_flight = 4});
  engine.RunUntil({.iteration = 1000, .step = 1000}, control);
  // Four were started before the first was learned of.
  EXPECT_EQ(run.state().step_state().iteration, 4);
  EXPECT_EQ(engine.progress().iteration, 1);
  engine.Drain();
  EXPECT_EQ(engine.progress().iteration, 4);
}

TEST(InFlightOptionsTest, FewerThanOneOrMoreThanFourAreRefused) {
  SmallRun run;
  const process::FakeClock clock;
  EXPECT_THROW(EagerEngine(run.state(), run.program(), clock, {.in_flight = 0}), c10::Error);
  EXPECT_THROW(EagerEngine(run.state(), run.program(), clock, {.in_flight = 5}), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
