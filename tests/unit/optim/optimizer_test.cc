#include "worker/optim/optimizer.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "tests/unit/kernels/with_isa.h"
#include "tests/unit/optim/optimizer_subject.h"

namespace mantissa::trainer {
namespace {

// The published formulas (torch.optim) in double, over the whole flat buffer.
class Reference {
 public:
  explicit Reference(const Subject& subject)
      : settings_(subject.optimizer.settings()), p_(subject.parameters.values().to(at::kDouble)) {
    const at::Tensor decays = at::zeros_like(subject.parameters.values());
    for (std::size_t i = 0; i < Shapes().size(); ++i) subject.parameters.ViewOf(decays, i).fill_(Decays(i) ? 1 : 0);
    decay_ = decays.to(at::kDouble) * settings_.weight_decay;
    first_ = at::zeros_like(p_);
    second_ = at::zeros_like(p_);
  }

  void Step(const at::Tensor& gradients, double factor, double rate) {
    steps_ += 1;
    at::Tensor g = gradients.to(at::kDouble) * factor;
    if (settings_.kind == OptimizerSettings::kSgd) {
      g = g + decay_ * p_;
      if (settings_.momentum != 0) {
        first_ = steps_ == 1 ? g : settings_.momentum * first_ + g;
        g = settings_.nesterov != 0 ? g + settings_.momentum * first_ : first_;
      }
      p_ = p_ - rate * g;
      return;
    }
    if (settings_.kind == OptimizerSettings::kAdam) {
      g = g + decay_ * p_;
    } else {
      p_ = p_ * (1 - rate * decay_);
    }
    first_ = settings_.beta1 * first_ + (1 - settings_.beta1) * g;
    second_ = settings_.beta2 * second_ + (1 - settings_.beta2) * g * g;
    const at::Tensor m = first_ / (1 - std::pow(settings_.beta1, steps_));
    const at::Tensor v = second_ / (1 - std::pow(settings_.beta2, steps_));
    p_ = p_ - rate * m / (v.sqrt() + settings_.epsilon);
  }

  const at::Tensor& parameters() const { return p_; }
  const at::Tensor& first() const { return first_; }
  const at::Tensor& second() const { return second_; }

 private:
  const OptimizerSettings settings_;
  at::Tensor p_, decay_, first_, second_;
  int steps_ = 0;
};

double WorstError(const at::Tensor& got, const at::Tensor& want) {
  return (got.to(at::kDouble) - want).abs().max().item<double>();
}

// Eight FP32 steps of values up to 5: half a unit of 5 x 2^-23 for each of about three roundings in a step.
constexpr double kFp32Steps = 8 * 3 * 0.5 * 5 * 0x1p-23;

struct Kind {
  const char* name;
  v1::OptimizerSpec spec;
};

class OptimizerTest : public testing::TestWithParam<Kind> {};

TEST_P(OptimizerTest, FollowsThePublishedFormulaOverStepsAndASkip) {
  Subject subject(GetParam().spec);
  Reference reference(subject);
  const Schedule& schedule = subject.optimizer.settings().schedule;
  // A factor per step, as the loss scale and clipping give it.
  const std::vector<float> factors = {1.0f / 64, 0.01f, 1.0f / 32, 0.003f, 1.0f / 64, 0.02f, 1.0f / 16, 0.05f};
  for (std::size_t i = 0; i < factors.size(); ++i) {
    subject.DrawGradients(static_cast<int>(i), 64);
    if (i == 3) subject.Step(3, factors[i], /*found_inf=*/true);
    const double rate = LearningRateAt(schedule, static_cast<std::int64_t>(i));
    const StepState state = subject.Step(static_cast<std::int64_t>(i), factors[i]);
    EXPECT_EQ(state.learning_rate, rate);
    reference.Step(subject.parameters.gradients(), factors[i], rate);
    ASSERT_LE(WorstError(subject.parameters.values(), reference.parameters()), kFp32Steps) << "step " << i;
  }
  const std::vector<NamedTensor>& moments = subject.optimizer.flat_state();
  if (!moments.empty()) {
    EXPECT_LE(WorstError(moments[0].tensor, reference.first()),
              kFp32Steps * reference.first().abs().max().item<double>());
  }
  if (moments.size() > 1) {
    EXPECT_LE(WorstError(moments[1].tensor, reference.second()), kFp32Steps * reference.second().max().item<double>());
  }
}

TEST_P(OptimizerTest, ASkippedIterationLeavesEveryBitAndSaysTheRate) {
  Subject subject(GetParam().spec);
  subject.DrawGradients(0);
  subject.Step(0, 1);
  const std::string before = subject.Bytes();
  subject.DrawGradients(1);
  subject.parameters.gradients()[17] = NAN;
  subject.parameters.gradients()[18] = INFINITY;
  const StepState state = subject.Step(1, 1, /*found_inf=*/true);
  EXPECT_EQ(subject.Bytes(), before);
  EXPECT_EQ(state.learning_rate, LearningRateAt(subject.optimizer.settings().schedule, 1));
}

TEST_P(OptimizerTest, AfterAHaltNotEvenTheStateIsWritten) {
  Subject subject(GetParam().spec);
  subject.DrawGradients(0);
  const std::string before = subject.Bytes();
  const StepState state = subject.Step(0, 1, /*found_inf=*/false, Halt::kSkipsInRow);
  EXPECT_EQ(subject.Bytes(), before);
  EXPECT_EQ(state.learning_rate, -1);
}

TEST_P(OptimizerTest, WritesNothingButTheRateIntoTheState) {
  Subject subject(GetParam().spec);
  subject.DrawGradients(0);
  StepState state = subject.Step(3, 0.5f);
  StepState expected;
  expected.step = 3;
  expected.factor = 0.5f;
  expected.learning_rate = LearningRateAt(subject.optimizer.settings().schedule, 3);
  EXPECT_EQ(std::memcmp(&state, &expected, sizeof(state)), 0);
}

TEST_P(OptimizerTest, UnscalesExactly) {
  Subject scaled(GetParam().spec), plain(GetParam().spec);
  for (int i = 0; i < 3; ++i) {
    scaled.DrawGradients(i, 1024);
    plain.DrawGradients(i);
    scaled.Step(i, 1.0f / 1024);
    plain.Step(i, 1);
  }
  EXPECT_EQ(scaled.Bytes(), plain.Bytes());  // powers of two
}

TEST_P(OptimizerTest, LeavesGradientsAsTheyAre) {
  Subject subject(GetParam().spec);
  subject.DrawGradients(0);
  const at::Tensor before = subject.parameters.gradients().clone();
  subject.Step(0, 0.125f);
  EXPECT_TRUE(at::equal(subject.parameters.gradients(), before));
}

TEST_P(OptimizerTest, WithoutAGradientOnlyDecayedParametersMove) {
  Subject subject(GetParam().spec);
  const at::Tensor before = subject.parameters.values().clone();
  subject.parameters.ZeroGradients();
  subject.Step(1, 1);
  for (std::size_t i = 0; i < Shapes().size(); ++i) {
    const at::Tensor was = subject.parameters.ViewOf(before, i);
    const at::Tensor is = subject.parameters.ViewOf(subject.parameters.values(), i);
    EXPECT_EQ(at::equal(is, was), !Decays(i)) << Shapes()[i].path;
    // Decay pulls towards zero, never beyond.
    EXPECT_TRUE(is.abs().le(was.abs()).all().item<bool>()) << Shapes()[i].path;
  }
}

TEST_P(OptimizerTest, PaddingStaysZero) {
  Subject subject(GetParam().spec);
  for (int i = 0; i < 3; ++i) {
    subject.DrawGradients(i);
    subject.Step(i, 1);
  }
  at::Tensor values = subject.parameters.values().clone();
  for (std::size_t i = 0; i < Shapes().size(); ++i) subject.parameters.ViewOf(values, i).zero_();
  EXPECT_EQ(values.abs().max().item<float>(), 0);
}

TEST_P(OptimizerTest, EveryInstructionSetAndThreadCountGivesTheSameBits) {
  const auto trained = [&] {
    Subject subject(GetParam().spec);
    for (int i = 0; i < 3; ++i) {
      subject.DrawGradients(i);
      subject.Step(i, 0.3f);
    }
    return subject.Bytes();
  };
  const std::string expected = trained();
  WithEachIsa([&](cpu::Isa) { EXPECT_EQ(trained(), expected); });
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    EXPECT_EQ(trained(), expected);
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Kinds, OptimizerTest,
                         testing::Values(Kind{"AdamW", AdamWSpec()}, Kind{"Adam", AdamSpec()},
                                         Kind{"Sgd", SgdSpec(0, false)}, Kind{"Momentum", SgdSpec(0.9, false)},
                                         Kind{"Nesterov", SgdSpec(0.9, true)}),
                         [](const auto& info) { return std::string(info.param.name); });

// ATen's fused optimizers over the same parameters, one by one, with the scale they unscale by.
class Fused {
 public:
  explicit Fused(const Subject& subject) : settings_(subject.optimizer.settings()) {
    for (std::size_t i = 0; i < Shapes().size(); ++i) {
      parameters_.push_back(subject.parameters.ViewOf(subject.parameters.values(), i).clone());
      first_.push_back(at::zeros_like(parameters_[i]));
      second_.push_back(at::zeros_like(parameters_[i]));
    }
  }

  void Step(const Subject& subject, double scale, double rate) {
    steps_ += 1;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      // They rewrite the gradients, and need to be told the step.
      const at::Tensor gradient = subject.parameters.ViewOf(subject.parameters.gradients(), i).clone();
      const at::Tensor step = at::full({}, steps_, at::kFloat);
      const at::Tensor grad_scale = at::full({}, scale, at::kFloat);
      const double decay = Decays(i) ? settings_.weight_decay : 0;
      if (settings_.kind == OptimizerSettings::kSgd) {
        at::_fused_sgd_({parameters_[i]}, {gradient}, {first_[i]}, decay, settings_.momentum, rate, 0,
                        settings_.nesterov != 0, false, steps_ == 1, grad_scale);
      } else if (settings_.kind == OptimizerSettings::kAdam) {
        at::_fused_adam_({parameters_[i]}, {gradient}, {first_[i]}, {second_[i]}, {}, {step}, rate, settings_.beta1,
                         settings_.beta2, decay, settings_.epsilon, false, false, grad_scale);
      } else {
        at::_fused_adamw_({parameters_[i]}, {gradient}, {first_[i]}, {second_[i]}, {}, {step}, rate, settings_.beta1,
                          settings_.beta2, decay, settings_.epsilon, false, false, grad_scale);
      }
    }
  }

  const std::vector<at::Tensor>& parameters() const { return parameters_; }

 private:
  const OptimizerSettings settings_;
  std::vector<at::Tensor> parameters_, first_, second_;
  int steps_ = 0;
};

TEST(OptimizerOracleTest, AgreesWithAtensFusedOptimizers) {
  for (const v1::OptimizerSpec& spec : {AdamWSpec(), AdamSpec(), SgdSpec(0.9, false), SgdSpec(0.9, true)}) {
    SCOPED_TRACE(spec.ShortDebugString());
    Subject subject(spec);
    Fused fused(subject);
    for (int i = 0; i < 8; ++i) {
      subject.DrawGradients(i, 64);
      const StepState state = subject.Step(i, 1.0f / 64);
      fused.Step(subject, 64, state.learning_rate);
    }
    for (std::size_t i = 0; i < Shapes().size(); ++i) {
      const at::Tensor ours = subject.parameters.ViewOf(subject.parameters.values(), i);
      // Both are FP32: twice the error of one.
      EXPECT_LE(WorstError(ours, fused.parameters()[i].to(at::kDouble)), 2 * kFp32Steps) << Shapes()[i].path;
    }
  }
}

}  // namespace
}  // namespace mantissa::trainer
