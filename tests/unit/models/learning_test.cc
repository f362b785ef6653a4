// Small models learn toy problems in every precision, through the whole update: scale, statistics, verdict, optimizer.
#include <cmath>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "tests/unit/models/sample_models.h"
#include "worker/amp/iteration.h"
#include "worker/amp/loss_scaler.h"
#include "worker/optim/optimizer.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;

struct Toy {
  SampleModel sample;
  at::Tensor input;
  at::Tensor targets;
};

// Labels from a fixed linear teacher over the flattened features.
Toy TeacherToy(const SampleModel& sample) {
  at::manual_seed(19);
  const at::Tensor input = sample.Input(64);
  const at::Tensor flat = input.flatten(1);
  return {sample, input, flat.mm(at::randn({flat.size(1), sample.classes()})).argmax(1)};
}

// Counting: the next token is the one after this.
Toy CountingToy() {
  const SampleModel sample = SampleGpt(1, 16, 2, 8, 13);
  const at::Tensor starts = at::arange(13, at::kLong).view({13, 1});
  const at::Tensor tokens = (starts + at::arange(9, at::kLong)).remainder(13);
  return {sample, tokens.narrow(1, 0, 8).contiguous(), tokens.narrow(1, 1, 8).reshape({-1})};
}

v1::OptimizerSpec FastAdamW() {
  v1::OptimizerSpec spec;
  spec.mutable_adamw()->set_learning_rate(0.01);
  spec.mutable_adamw()->set_beta1(0.9);
  spec.mutable_adamw()->set_beta2(0.999);
  spec.mutable_adamw()->set_epsilon(1e-8);
  return spec;
}

struct Outcome {
  double first_loss = 0;
  double last_loss = 0;
  StepState state;
};

Outcome Train(const Toy& toy, Mode::Mode mode, int iterations, double initial_scale = 65536) {
  // Models so small run several times faster on one thread, above all on a machine that is busy.
  at::set_num_threads(1);
  v1::PrecisionSpec precision;
  precision.set_mode(mode);
  precision.mutable_loss_scale()->set_init(initial_scale);
  const PrecisionPolicy policy(mode);
  const std::unique_ptr<Model> model = toy.sample.Build();
  ParameterBuffer& parameters = model->parameters();
  Optimizer optimizer(FastAdamW(), v1::ScheduleSpec(), iterations, parameters);
  IterationState iteration(ScalerSettingsFrom(precision, 1), parameters.chunks(),
                           static_cast<std::int64_t>(parameters.parameters().size()), at::kCPU);
  Outcome outcome;
  for (int i = 0; i < iterations; ++i) {
    parameters.ZeroGradients();
    const at::Tensor logits = model->Forward(toy.input, {.policy = policy, .key = {}});
    const at::Tensor loss = policy.CrossEntropy(logits, toy.targets);
    loss.backward(iteration.BackwardSeed(toy.targets.numel()));
    iteration.Measure(parameters.gradients());
    iteration.Judge(loss.detach(), toy.targets.numel());
    optimizer.Step(iteration.state());
    iteration.Finish();
    outcome.state = iteration.ReadState();
    if (i == 0) outcome.first_loss = outcome.state.loss;
  }
  outcome.last_loss = outcome.state.loss;
  return outcome;
}

std::vector<Toy> Toys() {
  return {TeacherToy(SampleMlp({32}, {10}, 5)), TeacherToy(SampleEncoder(1, 16, 2, {4, 6}, 5)), CountingToy()};
}

class LearningTest : public testing::TestWithParam<Mode::Mode> {};

TEST_P(LearningTest, TheLossOfAToyProblemFallsFarBelowAGuess) {
  for (const Toy& toy : Toys()) {
    SCOPED_TRACE(toy.sample.spec.ShortDebugString());
    const Outcome outcome = Train(toy, GetParam(), 120);
    const double guess = std::log(static_cast<double>(toy.sample.classes()));
    // Untrained models guess; a few nats for the size of first logits.
    EXPECT_NEAR(outcome.first_loss, guess, 0.5);
    EXPECT_LT(outcome.last_loss, 0.05 * guess);  // measured: 0.3 % of it in every precision
    EXPECT_EQ(outcome.state.iteration, 120);
    EXPECT_EQ(outcome.state.step, 120);
    EXPECT_EQ(outcome.state.halt, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, LearningTest, testing::Values(Mode::FP32, Mode::BF16, Mode::FP16),
                         [](const auto& info) { return Mode::Mode_Name(info.param); });

TEST(LearningFp16Test, AScaleThatIsFarTooLargeComesDownAndTheModelLearnsAllTheSame) {
  const Toy toy = TeacherToy(SampleMlp({32}, {10}, 5));
  const Outcome outcome = Train(toy, Mode::FP16, 120, 0x1p30);
  const std::int64_t skipped = outcome.state.iteration - outcome.state.step;
  EXPECT_GE(skipped, 5);  // even a gradient of 1/1024 leaves FP16 at the first five scales
  EXPECT_LE(skipped, 20);
  EXPECT_EQ(outcome.state.loss_scale, std::ldexp(1.0, 30 - static_cast<int>(skipped)));
  EXPECT_LT(outcome.last_loss, 0.05 * std::log(5.0));
}

TEST(LearningFp16Test, TheScaleIsInvisibleInWhatIsLearned) {
  const Toy toy = TeacherToy(SampleMlp({32}, {10}, 5));
  const Outcome small = Train(toy, Mode::FP16, 20, 0x1p12), large = Train(toy, Mode::FP16, 20, 0x1p14);
  EXPECT_EQ(small.state.step, 20);
  EXPECT_EQ(large.state.step, 20);
  // Powers of two change no digit; only what FP16 flushes to zero differs a little between the two.
  EXPECT_NEAR(small.last_loss, large.last_loss, 1e-3 * small.last_loss);
}

}  // namespace
}  // namespace mantissa::trainer
