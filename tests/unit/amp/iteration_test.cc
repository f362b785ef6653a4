#include "worker/amp/iteration.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"
#include "worker/amp/loss_scaler.h"
#include "worker/amp/verdict.h"
#include "worker/models/parameter_buffer.h"
#include "worker/optim/optimizer.h"

namespace mantissa::trainer {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

ScalerSettings Fp16Settings(double init) {
  ScalerSettings settings;
  settings.enabled = 1;
  settings.init = init;
  settings.growth_interval = 2;
  settings.max_grad_norm = 0;
  return settings;
}

// Two parameters, Adam, and the state between them; gradients are written by hand, as a backward pass would.
class Training {
 public:
  explicit Training(const ScalerSettings& settings)
      : parameters_(
            {{"head.weight", {3, 4}, spec::ParameterKind::kWeight}, {"head.bias", {3}, spec::ParameterKind::kBias}},
            at::kCPU),
        optimizer_(AdamSpec(), v1::ScheduleSpec(), 100, parameters_),
        iteration_(settings, parameters_.chunks(), 2, at::kCPU) {
    parameters_.values().fill_(0.5);
  }

  // `bad` is put into one element of the bias's gradient; every other scaled gradient is `gradient`.
  void Step(float gradient, float bad = 1, float loss_sum = 8, std::int64_t targets = 4) {
    parameters_.gradients().fill_(gradient);
    parameters_.ViewOf(parameters_.gradients(), 1)[2] = bad;
    iteration_.Measure(parameters_.gradients());
    iteration_.Judge(at::full({}, loss_sum, at::kFloat), targets);
    optimizer_.Step(iteration_.state());
    iteration_.Finish();
  }

  // Everything that a skipped iteration must not touch, as one vector of bytes.
  std::string TrainedBytes() const {
    std::string bytes;
    const auto append = [&](const at::Tensor& tensor) {
      bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    };
    append(parameters_.values());
    for (const NamedTensor& flat : optimizer_.flat_state()) append(flat.tensor);
    return bytes;
  }

  bool IsFinite() const {
    bool finite = parameters_.values().isfinite().all().item<bool>();
    for (const NamedTensor& flat : optimizer_.flat_state()) finite &= flat.tensor.isfinite().all().item<bool>();
    return finite;
  }

  IterationState& iteration() { return iteration_; }

 private:
  static v1::OptimizerSpec AdamSpec() {
    v1::OptimizerSpec spec;
    spec.mutable_adamw()->set_learning_rate(0.1);
    spec.mutable_adamw()->set_beta1(0.9);
    spec.mutable_adamw()->set_beta2(0.999);
    spec.mutable_adamw()->set_epsilon(1e-8);
    return spec;
  }

  ParameterBuffer parameters_;
  Optimizer optimizer_;
  IterationState iteration_;
};

TEST(IterationStateTest, BeginsWithTheScalersFirstState) {
  Training training(Fp16Settings(1024));
  const StepState state = training.iteration().ReadState();
  const StepState expected = InitialStepState(Fp16Settings(1024));
  EXPECT_EQ(std::memcmp(&state, &expected, sizeof(state)), 0);
  EXPECT_EQ(training.iteration().settings().init, 1024);
}

TEST(IterationStateTest, TheBackwardSeedIsTheScaleOverTheTargets) {
  Training training(Fp16Settings(1024));
  IterationState& iteration = training.iteration();
  const at::Tensor seed = iteration.BackwardSeed(3);
  EXPECT_EQ(seed.dim(), 0);
  EXPECT_EQ(seed.scalar_type(), at::kFloat);
  EXPECT_EQ(seed.item<float>(), static_cast<float>(1024.0 / 3));
  EXPECT_EQ(iteration.BackwardSeed(64).item<float>(), 16);
  EXPECT_EQ(seed.item<float>(), 16);  // one tensor, overwritten
  // It follows the scale.
  training.Step(1, kInf);
  EXPECT_EQ(iteration.BackwardSeed(1).item<float>(), 512);
}

TEST(IterationStateTest, OutsideFp16TheSeedDividesByTheTargetsAlone) {
  ScalerSettings settings = Fp16Settings(1024);
  settings.enabled = 0;
  Training training(settings);
  EXPECT_EQ(training.iteration().BackwardSeed(8).item<float>(), 0.125f);
}

TEST(IterationStateTest, AWindowWithoutTargetsIsRefused) {
  Training training(Fp16Settings(1024));
  for (const std::int64_t targets : {0, -1}) {
    try {
      training.iteration().BackwardSeed(targets);
      ADD_FAILURE() << targets << " targets were taken";
    } catch (const c10::Error& error) {
      EXPECT_NE(std::string(error.what()).find("a window without valid targets has no loss"), std::string::npos);
    }
  }
}

TEST(IterationStateTest, AnAppliedIterationMovesParametersCountersAndScale) {
  Training training(Fp16Settings(16));
  const std::string before = training.TrainedBytes();
  training.Step(1);
  EXPECT_NE(training.TrainedBytes(), before);
  StepState state = training.iteration().ReadState();
  EXPECT_EQ(state.iteration, 1);
  EXPECT_EQ(state.step, 1);
  EXPECT_EQ(state.loss, 2);  // 8 over 4 targets
  EXPECT_EQ(state.found_inf, 0);
  // 15 gradients of 1, scaled by 16.
  EXPECT_DOUBLE_EQ(state.grad_norm, std::sqrt(15.0) / 16);
  EXPECT_EQ(state.learning_rate, 0.1);
  training.Step(1);
  state = training.iteration().ReadState();
  EXPECT_EQ(state.used_loss_scale, 16);
  EXPECT_EQ(state.loss_scale, 32);  // grows after two
}

TEST(IterationStateTest, ASkippedIterationLeavesEveryBitOfWhatIsTrained) {
  Training training(Fp16Settings(16));
  training.Step(1);
  const std::string before = training.TrainedBytes();
  for (const float bad : {kInf, -kInf, kNan}) {
    training.Step(2, bad);
    EXPECT_EQ(training.TrainedBytes(), before);
  }
  training.Step(2, 1, kNan);  // finite gradients, and a loss that is not
  EXPECT_EQ(training.TrainedBytes(), before);
  const StepState state = training.iteration().ReadState();
  EXPECT_EQ(state.iteration, 5);
  EXPECT_EQ(state.step, 1);
  EXPECT_EQ(state.skips_in_row, 4);
  EXPECT_EQ(state.loss_scale, 1);
  EXPECT_EQ(static_cast<SkipCause>(state.cause), SkipCause::kNanForward);
}

TEST(IterationStateTest, StatisticsNameTheParameterThatOverflowed) {
  Training training(Fp16Settings(16));
  training.Step(3, kNan);
  const std::vector<GradientStats> stats = training.iteration().ReadStats();
  ASSERT_EQ(stats.size(), 2u);
  EXPECT_EQ(stats[0].sum_of_squares, 12 * 9);
  EXPECT_EQ(stats[0].inf_count + stats[0].nan_count, 0);
  EXPECT_EQ(stats[1].nan_count, 1);
  EXPECT_EQ(stats[1].sum_of_squares, 2 * 9);
  EXPECT_EQ(stats[1].largest, 3);
  ASSERT_EQ(Offenders(stats).size(), 1u);
  EXPECT_EQ(Offenders(stats)[0].parameter, 1u);
}

TEST(IterationStateTest, AFiniteNormBeyondFp32IsClippedAndApplied) {
  ScalerSettings settings = Fp16Settings(1);
  settings.max_grad_norm = 1;
  Training training(settings);
  const std::string before = training.TrainedBytes();
  training.Step(3e38f);  // its square is beyond FP32
  const StepState state = training.iteration().ReadState();
  EXPECT_EQ(state.found_inf, 0);
  EXPECT_GT(state.grad_norm, 1e39);
  EXPECT_NE(training.TrainedBytes(), before);
  EXPECT_TRUE(training.IsFinite());
}

TEST(IterationStateTest, AnInfThatOnlyUnscalingMakesIsSkippedBelowScaleOne) {
  Training at_half(Fp16Settings(0.5));
  const std::string before = at_half.TrainedBytes();
  at_half.Step(3e38f);
  EXPECT_EQ(at_half.TrainedBytes(), before);
  EXPECT_EQ(static_cast<SkipCause>(at_half.iteration().ReadState().cause), SkipCause::kOverflow);
  at_half.Step(1e37f);  // at 0.25 by now
  EXPECT_NE(at_half.TrainedBytes(), before);
}

TEST(IterationStateTest, AfterAHaltIterationsInFlightChangeNothing) {
  ScalerSettings settings = Fp16Settings(16);
  settings.max_skips_in_row = 2;
  Training training(settings);
  training.Step(1);
  training.Step(1, kInf);
  training.Step(1, kInf);
  const StepState halted = training.iteration().ReadState();
  ASSERT_EQ(static_cast<Halt>(halted.halt), Halt::kSkipsInRow);
  const std::string before = training.TrainedBytes();
  const std::vector<GradientStats> stats = training.iteration().ReadStats();
  training.Step(5);
  training.Step(5, kNan);
  EXPECT_EQ(training.TrainedBytes(), before);
  const StepState after = training.iteration().ReadState();
  EXPECT_EQ(std::memcmp(&after, &halted, sizeof(after)), 0);
  const std::vector<GradientStats> stats_after = training.iteration().ReadStats();
  EXPECT_EQ(std::memcmp(stats_after.data(), stats.data(), stats.size() * sizeof(GradientStats)), 0);
}

TEST(IterationStateTest, AWrittenStateIsReadBackAndGoesOnInTheMiddleOfAGrowthInterval) {
  ScalerSettings settings = Fp16Settings(16);
  settings.growth_interval = 3;
  settings.hysteresis = 2;
  Training first(settings);
  first.Step(1, kInf);  // hysteresis 1 left
  first.Step(1);
  first.Step(1);
  const StepState saved = first.iteration().ReadState();
  EXPECT_EQ(saved.growth_tracker, 2);
  EXPECT_EQ(saved.hysteresis_tracker, 1);

  Training second(settings);
  second.iteration().WriteState(saved);
  const StepState read = second.iteration().ReadState();
  EXPECT_EQ(std::memcmp(&read, &saved, sizeof(read)), 0);
  EXPECT_EQ(second.iteration().BackwardSeed(1).item<float>(), 16);
  second.Step(1);
  EXPECT_EQ(second.iteration().ReadState().loss_scale, 32);
  EXPECT_EQ(second.iteration().ReadState().step, 3);
}

TEST(IterationStateTest, WritingAStateReleasesAHalt) {
  ScalerSettings settings = Fp16Settings(16);
  settings.max_skips_in_row = 1;
  Training training(settings);
  const StepState start = training.iteration().ReadState();
  training.Step(1, kInf);
  training.iteration().WriteState(start);
  const std::string before = training.TrainedBytes();
  training.Step(1);
  EXPECT_NE(training.TrainedBytes(), before);
}

TEST(IterationStateTest, TheLossMayComeInDoubleAndMustBeOneNumber) {
  Training training(Fp16Settings(16));
  IterationState& iteration = training.iteration();
  iteration.Judge(at::full({1}, 0.1, at::kDouble), 4);
  EXPECT_EQ(iteration.ReadState().loss, 0.1 / 4);
  EXPECT_THROW(iteration.Judge(at::zeros({2}), 4), c10::Error);
}

TEST(IterationStateTest, TheOpJudgesAsTheHostDoes) {
  for (const double max_grad_norm : {0.0, 0.01, 100.0}) {
    ScalerSettings settings = Fp16Settings(64);
    settings.max_grad_norm = max_grad_norm;
    Training training(settings);
    for (const float bad : {1.0f, kInf, kNan}) {
      StepState expected = training.iteration().ReadState();
      training.Step(2, bad);
      const std::vector<GradientStats> stats = training.iteration().ReadStats();
      Judge(settings, stats, 8.0 / 4, &expected);
      const StepState got = training.iteration().ReadState();
      EXPECT_EQ(got.found_inf, expected.found_inf);
      EXPECT_EQ(got.cause, expected.cause);
      EXPECT_EQ(got.factor, expected.factor);
      EXPECT_EQ(got.grad_norm, expected.grad_norm);
      EXPECT_EQ(got.loss, expected.loss);
      EXPECT_EQ(got.used_loss_scale, expected.used_loss_scale);
    }
  }
}

}  // namespace
}  // namespace mantissa::trainer
