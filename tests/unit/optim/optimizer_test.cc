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
    const at::Tensor decays = at::zeros(p_.sizes(), at::kDouble);
    const at::Tensor factors = at::ones(p_.sizes(), at::kDouble);
    for (std::size_t i = 0; i < Shapes().size(); ++i) {
      subject.parameters.ViewOf(decays, i).fill_(subject.optimizer.rules()[i].weight_decay);
      subject.parameters.ViewOf(factors, i).fill_(subject.optimizer.rules()[i].rate_factor);
    }
    decay_ = decays;
    factor_ = factors;
    first_ = at::zeros_like(p_);
    second_ = at::zeros_like(p_);
  }

  void Step(const at::Tensor& gradients, double factor, double schedule_rate) {
    steps_ += 1;
    const at::Tensor rate = factor_ * schedule_rate;
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
  at::Tensor p_, decay_, factor_, first_, second_;
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
  spec::ParameterGroups groups = {};

  Subject Make() const { return Subject(spec, Falling(), groups); }
};

// A rate of its own, a decay of its own on what otherwise has none, and one that stands still.
spec::ParameterGroups AllSorts() {
  return Groups({{"Norm", {}, 0.3}, {"up", 0.004, {}}, {"up.weight", {}, 0.05}, {"table", 0.0, {}}});
}

class OptimizerTest : public testing::TestWithParam<Kind> {};

TEST_P(OptimizerTest, FollowsThePublishedFormulaOverStepsAndASkip) {
  Subject subject = GetParam().Make();
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
  Subject subject = GetParam().Make();
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
  Subject subject = GetParam().Make();
  subject.DrawGradients(0);
  const std::string before = subject.Bytes();
  const StepState state = subject.Step(0, 1, /*found_inf=*/false, Halt::kSkipsInRow);
  EXPECT_EQ(subject.Bytes(), before);
  EXPECT_EQ(state.learning_rate, -1);
}

// The weight is stored low and the rest is not; nothing of it is written where the values are not.
TEST_P(OptimizerTest, LowCopiesFollowTheValuesUnlessTheyAreSkipped) {
  for (const at::ScalarType low : {at::kHalf, at::kBFloat16}) {
    Subject subject = GetParam().Make();
    subject.parameters.StoreWeights({low, {true, false, false, false}});
    const at::Tensor& stored = subject.parameters.parameters()[0].stored;
    const at::Tensor before = stored.clone();
    subject.DrawGradients(0);
    subject.Step(0, 1, /*found_inf=*/true);
    subject.Step(0, 1, /*found_inf=*/false, Halt::kSkipsInRow);
    EXPECT_TRUE(at::equal(stored, before));
    subject.Step(0, 1);
    EXPECT_TRUE(at::equal(stored, subject.parameters.parameters()[0].value.detach().to(low)));
    EXPECT_FALSE(at::equal(stored, before));
  }
}

TEST_P(OptimizerTest, WritesNothingButTheRateIntoTheState) {
  Subject subject = GetParam().Make();
  subject.DrawGradients(0);
  StepState state = subject.Step(3, 0.5f);
  StepState expected;
  expected.step = 3;
  expected.factor = 0.5f;
  expected.learning_rate = LearningRateAt(subject.optimizer.settings().schedule, 3);
  EXPECT_EQ(std::memcmp(&state, &expected, sizeof(state)), 0);
}

TEST_P(OptimizerTest, UnscalesExactly) {
  Subject scaled = GetParam().Make(), plain = GetParam().Make();
  for (int i = 0; i < 3; ++i) {
    scaled.DrawGradients(i, 1024);
    plain.DrawGradients(i);
    scaled.Step(i, 1.0f / 1024);
    plain.Step(i, 1);
  }
  EXPECT_EQ(scaled.Bytes(), plain.Bytes());  // powers of two
}

TEST_P(OptimizerTest, LeavesGradientsAsTheyAre) {
  Subject subject = GetParam().Make();
  subject.DrawGradients(0);
  const at::Tensor before = subject.parameters.gradients().clone();
  subject.Step(0, 0.125f);
  EXPECT_TRUE(at::equal(subject.parameters.gradients(), before));
}

TEST_P(OptimizerTest, WithoutAGradientOnlyDecayedParametersMove) {
  Subject subject = GetParam().Make();
  const at::Tensor before = subject.parameters.values().clone();
  subject.parameters.ZeroGradients();
  subject.Step(1, 1);
  for (std::size_t i = 0; i < Shapes().size(); ++i) {
    const at::Tensor was = subject.parameters.ViewOf(before, i);
    const at::Tensor is = subject.parameters.ViewOf(subject.parameters.values(), i);
    const UpdateRule& rule = subject.optimizer.rules()[i];
    EXPECT_EQ(at::equal(is, was), rule.weight_decay == 0 || rule.rate_factor == 0) << Shapes()[i].path;
    // Decay pulls towards zero, never beyond.
    EXPECT_TRUE(is.abs().le(was.abs()).all().item<bool>()) << Shapes()[i].path;
  }
}

TEST_P(OptimizerTest, PaddingStaysZero) {
  Subject subject = GetParam().Make();
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
    Subject subject = GetParam().Make();
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
                                         Kind{"Nesterov", SgdSpec(0.9, true)},
                                         Kind{"AdamWGroups", AdamWSpec(), AllSorts()},
                                         Kind{"AdamGroups", AdamSpec(), AllSorts()},
                                         Kind{"NesterovGroups", SgdSpec(0.9, true), AllSorts()}),
                         [](const auto& info) { return std::string(info.param.name); });

// ATen's fused optimizers over the same parameters, one by one, with the scale they unscale by. Each parameter is a
// group of its own: its rate and its decay are arguments.
class Fused {
 public:
  explicit Fused(const Subject& subject) : settings_(subject.optimizer.settings()), rules_(subject.optimizer.rules()) {
    for (std::size_t i = 0; i < Shapes().size(); ++i) {
      parameters_.push_back(subject.parameters.ViewOf(subject.parameters.values(), i).clone());
      first_.push_back(at::zeros_like(parameters_[i]));
      second_.push_back(at::zeros_like(parameters_[i]));
    }
  }

  void Step(const Subject& subject, double scale, double schedule_rate) {
    steps_ += 1;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const double rate = schedule_rate * rules_[i].rate_factor;
      // They rewrite the gradients, and need to be told the step.
      const at::Tensor gradient = subject.parameters.ViewOf(subject.parameters.gradients(), i).clone();
      const at::Tensor step = at::full({}, steps_, at::kFloat);
      const at::Tensor grad_scale = at::full({}, scale, at::kFloat);
      const double decay = rules_[i].weight_decay;
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
  const std::vector<UpdateRule> rules_;
  std::vector<at::Tensor> parameters_, first_, second_;
  int steps_ = 0;
};

void ExpectAgreesWithAten(const v1::OptimizerSpec& spec, const spec::ParameterGroups& groups) {
  SCOPED_TRACE(spec.ShortDebugString());
  Subject subject(spec, Falling(), groups);
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

TEST(OptimizerOracleTest, AgreesWithAtensFusedOptimizers) {
  for (const v1::OptimizerSpec& spec : {AdamWSpec(), AdamSpec(), SgdSpec(0.9, false), SgdSpec(0.9, true)}) {
    ExpectAgreesWithAten(spec, {});
  }
}

TEST(OptimizerOracleTest, AgreesWithThemGroupByGroup) {
  for (const v1::OptimizerSpec& spec : {AdamWSpec(), AdamSpec(), SgdSpec(0.9, false), SgdSpec(0.9, true)}) {
    ExpectAgreesWithAten(spec, AllSorts());
  }
}

TEST(OptimizerGroupTest, TelemetryShowsTheRateOfNoGroup) {
  Subject subject(AdamWSpec(), Falling(), AllSorts());
  subject.DrawGradients(0);
  EXPECT_EQ(subject.Step(0, 1).learning_rate, LearningRateAt(subject.optimizer.settings().schedule, 0));
}

TEST(OptimizerGroupTest, ARateOfZeroKeepsEveryBit) {
  for (const v1::OptimizerSpec& spec : {AdamWSpec(), AdamSpec(), SgdSpec(0.9, true)}) {
    Subject subject(spec, Falling(), Groups({{"table", 0.0, {}}}));
    const at::Tensor before = subject.parameters.values().clone();
    for (int i = 0; i < 3; ++i) {
      subject.DrawGradients(i);
      subject.Step(i, 1);
    }
    const auto same = [&](std::size_t i) {
      return at::equal(subject.parameters.ViewOf(subject.parameters.values(), i), subject.parameters.ViewOf(before, i));
    };
    EXPECT_TRUE(same(3));
    EXPECT_FALSE(same(0));
  }
}

// One gradient with a square beyond FP32, among others that are ordinary.
TEST(OptimizerRangeTest, AGradientWhoseSquareOverflowsDoesNotFreezeItsElement) {
  for (const v1::OptimizerSpec& spec : {AdamWSpec(), AdamSpec()}) {
    for (const float huge : {1e19f, 2e19f, -2e19f, 3e38f, -3e38f}) {
      Subject subject(spec, v1::ScheduleSpec());
      const at::Tensor gradients = subject.parameters.gradients();
      const auto element = [](const at::Tensor& flat) { return flat[5].item<float>(); };
      subject.DrawGradients(0);
      gradients[5] = huge;
      float before = element(subject.parameters.values());
      subject.Step(0, 1);
      // Adam's first step is the rate, whatever the gradient: here with the decay of a value below 3.
      const float moved = element(subject.parameters.values()) - before;
      EXPECT_LT(std::fabs(std::fabs(moved) - 0.02f), 0.02f * 0.1f * 3) << huge;
      EXPECT_EQ(moved<0, huge> 0);
      for (const NamedTensor& moment : subject.optimizer.flat_state()) {
        EXPECT_TRUE(at::isfinite(moment.tensor).all().item<bool>()) << moment.name;
      }
      // And it goes on moving, back as well as forth.
      for (int i = 1; i < 4; ++i) {
        gradients[5] = -huge;
        before = element(subject.parameters.values());
        subject.Step(i, 1);
        EXPECT_NE(element(subject.parameters.values()), before);
      }
    }
  }
}

TEST(OptimizerRangeTest, OrdinaryGradientsAreNotBounded) {
  // Far beyond what training survives, and twice that: still told apart.
  Subject one(AdamWSpec()), two(AdamWSpec());
  one.DrawGradients(0, 1e12);
  two.DrawGradients(0, 2e12);
  one.Step(0, 1);
  two.Step(0, 1);
  const at::Tensor ratio = two.optimizer.flat_state()[0].tensor / one.optimizer.flat_state()[0].tensor;
  EXPECT_EQ(ratio[0].item<float>(), 2);
}

}  // namespace
}  // namespace mantissa::trainer
