// Each rule fires on what it is for, and stays silent just short of it.
#include "worker/amp/advice/advice.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "worker/amp/advice/adviser.h"

namespace mantissa::trainer {
namespace {

using testing::HasSubstr;
using Mode = v1::PrecisionSpec;

AdviceFacts Facts(v1::PrecisionSpec::Mode mode) {
  AdviceFacts facts;
  facts.mode = mode;
  facts.scaler.enabled = mode == Mode::FP16 ? 1 : 0;
  facts.scaler.growth_interval = 100;
  facts.record.iteration = 500;
  facts.stats.window = 1000;
  facts.stats.stability_score = 1;
  facts.stats.verdict = PrecisionStats::Verdict::kStable;
  facts.stats.loss_scale = 1024;
  facts.stats.max_loss_scale = 1024;
  return facts;
}

ModuleRange Range(const std::string& module) {
  ModuleRange range;
  range.module = module;
  return range;
}

double Value(const Advice& advice, const std::string& name) {
  for (const Evidence& evidence : advice.evidence) {
    if (evidence.name == name) return evidence.value;
  }
  ADD_FAILURE() << "no evidence " << name;
  return 0;
}

TEST(GradientsFlushToZeroTest, NamesTheWorstModuleAndItsShare) {
  AdviceFacts facts = Facts(Mode::FP16);
  EXPECT_FALSE(GradientsFlushToZero(facts)) << "without a sample";
  facts.ranges = ModuleRanges{8, 1024, {Range("layers.0"), Range("head")}, 2};
  facts.ranges->modules[0].gradient.flushed_ratio = 0.1;
  EXPECT_FALSE(GradientsFlushToZero(facts)) << "a tenth is not more than a tenth";
  facts.ranges->modules[0].gradient.flushed_ratio = 0.375;
  facts.ranges->modules[1].gradient.flushed_ratio = 0.2;
  const auto advice = GradientsFlushToZero(facts);
  ASSERT_TRUE(advice);
  EXPECT_EQ(advice->rule, "gradients_flush_to_zero");
  EXPECT_THAT(advice->message, HasSubstr("38 % of the gradients at layers.0 are too small for FP16"));
  EXPECT_EQ(Value(*advice, "flushed_ratio"), 0.375);
  facts.mode = Mode::BF16;
  EXPECT_THAT(GradientsFlushToZero(facts)->message, HasSubstr("train in FP32"));
  facts.mode = Mode::FP32;
  EXPECT_FALSE(GradientsFlushToZero(facts)) << "there is nothing wider to go to";
}

TEST(GradientsVanishTest, SaysWhereTheyStopAndHowManyModulesGetNone) {
  AdviceFacts facts = Facts(Mode::FP32);
  EXPECT_FALSE(GradientsVanish(facts)) << "without a sample";
  facts.ranges = ModuleRanges{8, 1, {Range("tiny"), Range("huge"), Range("tanh"), Range("head")}, 4};
  for (ModuleRange& range : facts.ranges->modules) range.gradient.max = 0;
  EXPECT_FALSE(GradientsVanish(facts)) << "none anywhere: the loss is at its end";
  facts.ranges->modules[3].gradient.max = 0.5;
  const auto advice = GradientsVanish(facts);
  ASSERT_TRUE(advice);
  EXPECT_THAT(advice->message, HasSubstr("before head: none reaches 3 of 4 modules (75 %)"));
  EXPECT_EQ(Value(*advice, "modules_without_gradient_ratio"), 0.75);
  facts.ranges->modules[0].gradient.max = 1e-30;
  EXPECT_FALSE(GradientsVanish(facts)) << "something reaches the first";
}

TEST(ValuesNearMaximumTest, SpeaksOfActivationsAlone) {
  AdviceFacts facts = Facts(Mode::FP16);
  facts.ranges = ModuleRanges{8, 1024, {Range("layers.0"), Range("head")}, 2};
  facts.ranges->modules[1].gradient.near_max_ratio = 0.5;
  facts.ranges->modules[1].gradient.max = 60000;
  EXPECT_FALSE(ValuesNearMaximum(facts)) << "gradients there are what a growing scale looks for";
  facts.ranges->modules[1].activation = {40000, 0, 0.01};
  const auto advice = ValuesNearMaximum(facts);
  ASSERT_TRUE(advice);
  EXPECT_THAT(advice->message, HasSubstr("outputs of head reach 4e+04"));
  EXPECT_THAT(advice->message, HasSubstr("train in BF16"));
  EXPECT_EQ(Value(*advice, "near_max_ratio"), 0.01);
}

TEST(ScaleBacksOffTest, MoreThanTwoPercentOfAFullWindow) {
  AdviceFacts facts = Facts(Mode::FP16);
  facts.stats.backoffs = 20;
  facts.stats.stability_score = 0.98;
  EXPECT_FALSE(ScaleBacksOff(facts));
  facts.stats.backoffs = 21;
  facts.stats.stability_score = 0.979;
  const auto advice = ScaleBacksOff(facts);
  ASSERT_TRUE(advice);
  EXPECT_THAT(advice->message, HasSubstr("backed off 21 times in 1000 iterations"));
  EXPECT_EQ(Value(*advice, "backoffs"), 21);
  facts.stats.stability_score.reset();
  EXPECT_FALSE(ScaleBacksOff(facts)) << "the window is not full";
  facts.stats.stability_score = 0.5;
  facts.mode = Mode::BF16;
  EXPECT_FALSE(ScaleBacksOff(facts)) << "without a scale";
}

TEST(ScaleNeverGrowsTest, AfterThreeIntervalsWithoutGrowth) {
  AdviceFacts facts = Facts(Mode::FP16);
  facts.stats.applied = 299;
  EXPECT_FALSE(ScaleNeverGrows(facts));
  facts.stats.applied = 300;
  ASSERT_TRUE(ScaleNeverGrows(facts));
  EXPECT_THAT(ScaleNeverGrows(facts)->message, HasSubstr("has not grown in 300 applied iterations, and is 1024"));
  facts.scale_has_grown = true;
  EXPECT_FALSE(ScaleNeverGrows(facts));
  facts.scale_has_grown = false;
  facts.scaler.max = 1024;
  EXPECT_FALSE(ScaleNeverGrows(facts)) << "at its ceiling";
  facts.scaler.max = 0;
  facts.mode = Mode::FP32;
  EXPECT_FALSE(ScaleNeverGrows(facts));
}

TEST(ScaleNeverGrowsTest, AtTheFloorForAWholeWindow) {
  AdviceFacts facts = Facts(Mode::FP16);
  facts.scaler.min = 1;
  facts.stats.loss_scale = facts.stats.max_loss_scale = 1;
  facts.scale_has_grown = true;
  ASSERT_TRUE(ScaleNeverGrows(facts));
  EXPECT_THAT(ScaleNeverGrows(facts)->message, HasSubstr("at its floor, 1, for 1000 iterations"));
  facts.stats.growths = 1;
  EXPECT_FALSE(ScaleNeverGrows(facts));
  facts.stats.growths = 0;
  facts.stats.max_loss_scale = 2;
  EXPECT_FALSE(ScaleNeverGrows(facts)) << "it came there within the window";
  facts.stats.max_loss_scale = 1;
  facts.stats.stability_score.reset();
  EXPECT_FALSE(ScaleNeverGrows(facts)) << "the window is not full";
}

TEST(ConsiderBf16Test, WhereFp16IsUnstableAndTheDeviceHasIt) {
  AdviceFacts facts = Facts(Mode::FP16);
  EXPECT_FALSE(ConsiderBf16(facts));
  facts.stats.verdict = PrecisionStats::Verdict::kUnstable;
  facts.stats.skipped_ratio = 0.125;
  ASSERT_TRUE(ConsiderBf16(facts));
  EXPECT_THAT(ConsiderBf16(facts)->message, HasSubstr("12.5 % of 1000 iterations skipped"));
  facts.has_bf16 = false;
  EXPECT_FALSE(ConsiderBf16(facts));
  facts.has_bf16 = true;
  facts.mode = Mode::BF16;
  EXPECT_FALSE(ConsiderBf16(facts));
}

TEST(EveryStepIsClippedTest, FromNineteenOfTwentyOn) {
  AdviceFacts facts = Facts(Mode::FP32);
  EXPECT_FALSE(EveryStepIsClipped(facts)) << "too few updates so far";
  facts.clipped_ratio = 0.945;
  EXPECT_FALSE(EveryStepIsClipped(facts));
  facts.clipped_ratio = 0.95;
  ASSERT_TRUE(EveryStepIsClipped(facts));
  EXPECT_THAT(EveryStepIsClipped(facts)->message, HasSubstr("raise max_grad_norm"));
}

TEST(LossSpikeTest, NeedsTwiceTheMedianAndTenDeviations) {
  AdviceFacts facts = Facts(Mode::FP32);
  facts.record.loss = 30;
  EXPECT_FALSE(LossSpike(facts)) << "there is no median yet";
  facts.median_loss = 1;
  facts.loss_deviation = 0.1;
  facts.record.loss = 2;
  EXPECT_FALSE(LossSpike(facts)) << "10 deviations, but not more than twice";
  facts.record.loss = 2.1;
  ASSERT_TRUE(LossSpike(facts));
  EXPECT_EQ(Value(*LossSpike(facts), "median_loss"), 1);
  facts.loss_deviation = 0.2;
  EXPECT_FALSE(LossSpike(facts)) << "a noisy loss";
  facts.loss_deviation = 0;
  facts.record.applied = false;
  EXPECT_FALSE(LossSpike(facts)) << "a skip is told otherwise";
}

TEST(NumericsNotPrecisionTest, ASkipThatNoScaleIsToBlameFor) {
  AdviceFacts facts = Facts(Mode::BF16);
  EXPECT_FALSE(NumericsNotPrecision(facts));
  facts.record.applied = false;
  facts.record.cause = SkipCause::kOverflow;
  ASSERT_TRUE(NumericsNotPrecision(facts));
  EXPECT_THAT(NumericsNotPrecision(facts)->message, HasSubstr("iteration 500 was skipped in BF16"));
  facts.mode = Mode::FP16;
  EXPECT_FALSE(NumericsNotPrecision(facts)) << "the scale's business";
  facts.record.cause = SkipCause::kNanForward;
  EXPECT_TRUE(NumericsNotPrecision(facts));
}

class AdviserTest : public testing::Test {
 protected:
  // Rules that have spoken, in order, each with its iteration.
  std::vector<std::string> Run(int iterations, double loss = 1, double grad_norm = 0.5) {
    std::vector<std::string> said;
    for (int i = 0; i < iterations; ++i) {
      IterationRecord record;
      record.iteration = ++iteration_;
      record.loss = loss;
      record.grad_norm = grad_norm;
      monitor_.Observe(record);
      for (const Advice& advice : adviser_.Observe(record, monitor_)) {
        said.push_back(advice.rule + " " + std::to_string(iteration_));
      }
    }
    return said;
  }

  std::int64_t iteration_ = 0;
  PrecisionMonitor monitor_;
  Adviser adviser_{{.mode = v1::PrecisionSpec::FP32}};
};

TEST_F(AdviserTest, AHealthyRunHearsNothing) { EXPECT_THAT(Run(3000), testing::IsEmpty()); }

TEST_F(AdviserTest, ARuleSpeaksOncePerQuietPeriod) {
  EXPECT_THAT(
      Run(2500, 1, /*grad_norm=*/7),
      testing::ElementsAre("every_step_is_clipped 200", "every_step_is_clipped 1200", "every_step_is_clipped 2200"));
}

TEST_F(AdviserTest, ClippingIsForgottenAfterTwoHundredUpdates) {
  Run(150, 1, 7);
  EXPECT_THAT(Run(500), testing::IsEmpty());
}

TEST_F(AdviserTest, AJumpOfTheLossIsSaidAtOnce) {
  Run(73);
  EXPECT_THAT(Run(1, 50), testing::ElementsAre("loss_spike 74"));
  EXPECT_THAT(Run(1, 50), testing::IsEmpty()) << "and once";
}

TEST_F(AdviserTest, ASampleOfRangesIsLookedAtAtOnce) {
  Adviser adviser({.mode = v1::PrecisionSpec::FP16});
  ModuleRanges ranges{8, 1, {Range("head")}, 1};
  EXPECT_TRUE(adviser.Observe(ranges, monitor_).empty());
  ranges.modules[0].gradient.flushed_ratio = 1;
  ASSERT_EQ(adviser.Observe(ranges, monitor_).size(), 1u);
  EXPECT_TRUE(adviser.Observe(ranges, monitor_).empty()) << "within the quiet period";
}

}  // namespace
}  // namespace mantissa::trainer
