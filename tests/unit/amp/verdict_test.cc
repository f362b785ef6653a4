#include "worker/amp/verdict.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

#include "worker/amp/step_decisions.h"

namespace mantissa::trainer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

GradientStats Row(double sum_of_squares, std::int64_t inf_count = 0, std::int64_t nan_count = 0) {
  GradientStats row;
  row.sum_of_squares = sum_of_squares;
  row.inf_count = inf_count;
  row.nan_count = nan_count;
  return row;
}

struct Window {
  std::vector<GradientStats> stats = {Row(9), Row(16)};  // norm 5
  double loss = 2;
  float scale = 1;
  double max_grad_norm = 0;
  bool check_loss = true;
};

StepState Judged(const Window& window) {
  ScalerSettings settings;
  settings.max_grad_norm = window.max_grad_norm;
  settings.check_loss = window.check_loss ? 1 : 0;
  StepState state;
  state.loss_scale = window.scale;
  // Left over from an iteration before, all of it to be overwritten.
  state.found_inf = 7;
  state.cause = 7;
  state.factor = -7;
  state.used_loss_scale = -7;
  state.loss = -7;
  state.grad_norm = -7;
  Judge(settings, window.stats, window.loss, &state);
  return state;
}

SkipCause CauseOf(const Window& window) { return static_cast<SkipCause>(Judged(window).cause); }

TEST(VerdictTest, AFiniteWindowIsApplied) {
  const StepState state = Judged({.scale = 1024});
  EXPECT_EQ(state.found_inf, 0.0f);
  EXPECT_EQ(state.cause, static_cast<std::int32_t>(SkipCause::kNone));
  EXPECT_EQ(state.loss, 2);
  EXPECT_EQ(state.used_loss_scale, 1024);
  EXPECT_EQ(state.loss_scale, 1024);  // the scale itself is not the verdict's to change
}

TEST(VerdictTest, OneBadElementInAnyParameterSkipsTheWindow) {
  for (std::size_t i = 0; i < 3; ++i) {
    for (const GradientStats& bad : {Row(1, 1, 0), Row(1, 0, 1)}) {
      Window window{.stats = {Row(1), Row(1), Row(1)}};
      window.stats[i] = bad;
      EXPECT_EQ(Judged(window).found_inf, 1.0f) << i;  // exactly 1: optimizers multiply by it
    }
  }
}

TEST(VerdictTest, InfMeansOverflowAndNanAloneABadBackwardPass) {
  EXPECT_EQ(CauseOf({.stats = {Row(1, 3, 0)}}), SkipCause::kOverflow);
  EXPECT_EQ(CauseOf({.stats = {Row(1, 0, 3)}}), SkipCause::kNanBackward);
  // An overflow near the loss is NaN upstream: the Inf tells what it was.
  EXPECT_EQ(CauseOf({.stats = {Row(1, 0, 500), Row(1, 1, 0)}}), SkipCause::kOverflow);
}

TEST(VerdictTest, ALossThatIsNotFiniteBlamesTheForwardPassWhateverTheGradientsAre) {
  for (const double loss : {kInf, -kInf, kNan}) {
    for (const GradientStats& row : {Row(1), Row(1, 1, 0), Row(1, 0, 1)}) {
      const StepState state = Judged({.stats = {row}, .loss = loss});
      EXPECT_EQ(state.found_inf, 1.0f);
      EXPECT_EQ(static_cast<SkipCause>(state.cause), SkipCause::kNanForward);
    }
  }
  EXPECT_EQ(CauseOf({.loss = std::numeric_limits<double>::max()}), SkipCause::kNone);
  EXPECT_EQ(CauseOf({.loss = -std::numeric_limits<double>::max()}), SkipCause::kNone);
}

TEST(VerdictTest, WithoutTheCheckOfTheLossOnlyGradientsSkip) {
  const StepState applied = Judged({.loss = kNan, .check_loss = false});
  EXPECT_EQ(applied.found_inf, 0.0f);
  EXPECT_EQ(static_cast<SkipCause>(applied.cause), SkipCause::kNone);
  EXPECT_TRUE(std::isnan(applied.loss));
  EXPECT_EQ(CauseOf({.stats = {Row(1, 1, 0)}, .loss = kNan, .check_loss = false}), SkipCause::kNanForward);
  EXPECT_EQ(CauseOf({.stats = {Row(1, 1, 0)}, .check_loss = false}), SkipCause::kOverflow);
}

TEST(VerdictTest, TheNormIsOverAllParametersAndUnscaled) {
  EXPECT_EQ(Judged({.scale = 1}).grad_norm, 5);
  EXPECT_EQ(Judged({.scale = 1024}).grad_norm, 5.0 / 1024);
  EXPECT_EQ(Judged({.scale = 0.25}).grad_norm, 20);
}

TEST(VerdictTest, WithoutClippingTheFactorUnscales) {
  EXPECT_EQ(Judged({.scale = 1024}).factor, 1.0f / 1024);
  EXPECT_EQ(Judged({.stats = {Row(1e12)}, .scale = 1024}).factor, 1.0f / 1024);
  EXPECT_EQ(Judged({.scale = 0.25}).factor, 4.0f);  // below 1 as well
}

TEST(VerdictTest, ClippingScalesALargeNormDownToTheLimitAndLeavesASmallOne) {
  // Norm 5 over limit 2, as clip_grad_norm_ has it.
  EXPECT_FLOAT_EQ(Judged({.scale = 1, .max_grad_norm = 2}).factor, static_cast<float>(2 / (5 + 1e-6)));
  EXPECT_EQ(Judged({.scale = 1, .max_grad_norm = 5.1}).factor, 1.0f);
  // The limit is for the unscaled norm.
  EXPECT_EQ(Judged({.scale = 8, .max_grad_norm = 2}).factor, 1.0f / 8);
  EXPECT_FLOAT_EQ(Judged({.scale = 0.5, .max_grad_norm = 2}).factor, static_cast<float>(2 / (10 + 1e-6) / 0.5));
}

TEST(VerdictTest, TheReportedNormIsTheOneBeforeClipping) {
  EXPECT_EQ(Judged({.scale = 1, .max_grad_norm = 2}).grad_norm, 5);
}

TEST(VerdictTest, AGradientOfZeroIsAppliedAndNotDividedBy) {
  const StepState state = Judged({.stats = {Row(0)}, .scale = 16, .max_grad_norm = 1});
  EXPECT_EQ(state.found_inf, 0.0f);
  EXPECT_EQ(state.grad_norm, 0);
  EXPECT_EQ(state.factor, 1.0f / 16);
}

TEST(VerdictTest, AFiniteNormBeyondFp32IsNoOverflow) {
  const StepState state = Judged({.stats = {Row(1e80), Row(1e60)}, .max_grad_norm = 1});
  EXPECT_EQ(state.found_inf, 0.0f);
  EXPECT_NEAR(state.grad_norm, 1e40, 1e28);
  // 1e-40 is a subnormal float, whose spacing is 1.4e-45.
  EXPECT_NEAR(static_cast<double>(state.factor), 1e-40, 1.4e-45);
}

TEST(VerdictTest, AHaltedStateIsLeftAsItIs) {
  StepState state;
  state.halt = static_cast<std::int32_t>(Halt::kSkipsInRow);
  state.loss = 3;
  state.found_inf = 1;
  const StepState before = state;
  Judge(ScalerSettings(), std::vector<GradientStats>{Row(4)}, 9, &state);
  EXPECT_EQ(std::memcmp(&state, &before, sizeof(state)), 0);
}

TEST(VerdictTest, IsFiniteKnowsTheEdges) {
  EXPECT_TRUE(IsFinite(0));
  EXPECT_TRUE(IsFinite(std::numeric_limits<double>::max()));
  EXPECT_TRUE(IsFinite(std::numeric_limits<double>::lowest()));
  EXPECT_TRUE(IsFinite(std::numeric_limits<double>::denorm_min()));
  EXPECT_FALSE(IsFinite(kInf));
  EXPECT_FALSE(IsFinite(-kInf));
  EXPECT_FALSE(IsFinite(kNan));
}

TEST(VerdictTest, OffendersComeInBackwardOrderWithBothCounts) {
  const std::vector<GradientStats> stats = {Row(1, 0, 40), Row(1), Row(1, 0, 8), Row(1, 17, 2), Row(1)};
  const std::vector<Offender> offenders = Offenders(stats);
  ASSERT_EQ(offenders.size(), 3u);
  EXPECT_EQ(offenders[0].parameter, 3u);
  EXPECT_EQ(offenders[0].inf_count, 17);
  EXPECT_EQ(offenders[0].nan_count, 2);
  EXPECT_EQ(offenders[1].parameter, 2u);
  EXPECT_EQ(offenders[1].inf_count, 0);
  EXPECT_EQ(offenders[1].nan_count, 8);
  EXPECT_EQ(offenders[2].parameter, 0u);
  EXPECT_EQ(offenders[2].nan_count, 40);
}

TEST(VerdictTest, InfAloneMakesAnOffenderAndFiniteGradientsMakeNone) {
  ASSERT_EQ(Offenders(std::vector<GradientStats>{Row(1, 1, 0)}).size(), 1u);
  EXPECT_TRUE(Offenders(std::vector<GradientStats>{Row(1), Row(0)}).empty());
  EXPECT_TRUE(Offenders({}).empty());
}

}  // namespace
}  // namespace mantissa::trainer
