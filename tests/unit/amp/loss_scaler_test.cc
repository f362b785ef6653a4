#include "worker/amp/loss_scaler.h"

#include <cfloat>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/unit/amp/scaler_trace.h"

namespace mantissa::trainer {
namespace {

using Scales = std::vector<double>;

// SmallScaler with every limit on.
ScalerSettings Latched() {
  ScalerSettings settings = SmallScaler();
  settings.latch = 1;
  settings.halt_at_floor = 1;
  return settings;
}

TEST(LossScalerTest, StartsAtItsFirstScaleWithFullHysteresis) {
  ScalerSettings settings = SmallScaler();
  settings.hysteresis = 3;
  const LossScaler scaler(settings);
  EXPECT_EQ(scaler.scale(), 16);
  EXPECT_EQ(scaler.state().used_loss_scale, 16);
  EXPECT_EQ(scaler.state().hysteresis_tracker, 3);
  EXPECT_EQ(scaler.state().growth_tracker, 0);
  EXPECT_EQ(scaler.state().iteration, 0);
  EXPECT_EQ(scaler.state().step, 0);
  EXPECT_EQ(scaler.halt(), Halt::kNone);
}

TEST(LossScalerTest, GrowsOnceAWholeIntervalWasCleanAndCountsAnew) {
  EXPECT_EQ(ScalesAfter(SmallScaler(), "0000 0000 0"), (Scales{16, 16, 16, 32, 32, 32, 32, 64, 64}));
}

TEST(LossScalerTest, AnOverflowHalvesTheScaleAndStartsTheIntervalAnew) {
  EXPECT_EQ(ScalesAfter(SmallScaler(), "000 1 000 0"), (Scales{16, 16, 16, 8, 8, 8, 8, 16}));
}

TEST(LossScalerTest, GrowthAndBackoffHaveTheirOwnFactors) {
  ScalerSettings settings = SmallScaler();
  settings.growth_factor = 3;
  settings.backoff_factor = 0.25;
  EXPECT_EQ(ScalesAfter(settings, "0000 1"), (Scales{16, 16, 16, 48, 12}));
}

TEST(LossScalerTest, OverflowsAreForgivenUntilTheHysteresisIsUsedUpAndNoneAfterThat) {
  ScalerSettings settings = SmallScaler();
  settings.hysteresis = 3;
  EXPECT_EQ(ScalesAfter(settings, "11 1 1 1"), (Scales{16, 16, 8, 4, 2}));
  // A forgiven overflow starts the interval anew all the same.
  EXPECT_EQ(ScalesAfter(settings, "000 1 000 0"), (Scales{16, 16, 16, 16, 16, 16, 16, 32}));
}

TEST(LossScalerTest, CleanIterationsRefillTheHysteresisOnlyIfItIsConsecutive) {
  ScalerSettings settings = SmallScaler();
  settings.hysteresis = 2;
  EXPECT_EQ(ScalesAfter(settings, "1 0 1 0 1"), (Scales{16, 16, 8, 8, 4}));
  settings.consecutive_hysteresis = 1;
  EXPECT_EQ(ScalesAfter(settings, "1 0 1 0 1"), (Scales{16, 16, 16, 16, 16}));
  EXPECT_EQ(ScalesAfter(settings, "11 1"), (Scales{16, 8, 4}));
}

TEST(LossScalerTest, GrowthRefillsTheHysteresis) {
  ScalerSettings settings = SmallScaler();
  settings.hysteresis = 2;
  EXPECT_EQ(ScalesAfter(settings, "1 0000 1 1"), (Scales{16, 16, 16, 16, 32, 32, 16}));
}

TEST(LossScalerTest, GrowthEndsAtTheCeilingAndNotShortOfIt) {
  ScalerSettings settings = SmallScaler();
  settings.growth_interval = 1;
  settings.max = 40;
  EXPECT_EQ(ScalesAfter(settings, "000"), (Scales{32, 40, 40}));
  settings.max = 64;
  EXPECT_EQ(ScalesAfter(settings, "000"), (Scales{32, 64, 64}));
  settings.max = 0;  // none
  EXPECT_EQ(ScalesAfter(settings, "000"), (Scales{32, 64, 128}));
}

TEST(LossScalerTest, GrowthThatFp32CannotHoldDoesNotHappen) {
  ScalerSettings settings = SmallScaler();
  settings.init = 0x1p126;
  settings.growth_interval = 2;
  EXPECT_EQ(ScalesAfter(settings, "00 00 00 1"),
            (Scales{0x1p126, 0x1p127, 0x1p127, 0x1p127, 0x1p127, 0x1p127, 0x1p126}));
  // The interval has begun anew, as after any growth.
  EXPECT_EQ(ScalerAfter(settings, "00 00 0").state().growth_tracker, 1);
  settings.init = FLT_MAX / 2;
  EXPECT_EQ(ScalerAfter(settings, "00").scale(), FLT_MAX);
}

TEST(LossScalerTest, TheFloorHoldsTheScale) {
  ScalerSettings settings = SmallScaler();
  settings.min = 3;
  EXPECT_EQ(ScalesAfter(settings, "1111"), (Scales{8, 4, 3, 3}));
  EXPECT_EQ(ScalerAfter(settings, "1111 0000").scale(), 6);
}

TEST(LossScalerTest, WithoutAFloorTheScaleEndsAtZeroAsPyTorchsDoes) {
  ScalerSettings settings = SmallScaler();
  settings.init = 65536;
  EXPECT_EQ(ScalerAfter(settings, std::string(16, '1')).scale(), 1);
  EXPECT_EQ(ScalerAfter(settings, std::string(17, '1')).scale(), 0.5);
  EXPECT_EQ(ScalerAfter(settings, std::string(165, '1')).scale(), 0x1p-149);
  EXPECT_EQ(ScalerAfter(settings, std::string(166, '1')).scale(), 0);
}

TEST(LossScalerTest, CountsIterationsStepsAndSkipsInARow) {
  const StepState state = ScalerAfter(SmallScaler(), "00 111 0 11").state();
  EXPECT_EQ(state.iteration, 8);
  EXPECT_EQ(state.step, 3);
  EXPECT_EQ(state.skips_in_row, 2);
  EXPECT_EQ(ScalerAfter(SmallScaler(), "11 0").state().skips_in_row, 0);
}

TEST(LossScalerTest, SwitchedOffItKeepsTheScaleAtOneAndGoesOnCounting) {
  ScalerSettings settings = SmallScaler();
  settings.enabled = 0;
  EXPECT_EQ(LossScaler(settings).scale(), 1);
  const StepState state = ScalerAfter(settings, "0000 0000 1 0 11").state();
  EXPECT_EQ(state.loss_scale, 1);
  EXPECT_EQ(state.growth_tracker, 0);
  EXPECT_EQ(state.iteration, 12);
  EXPECT_EQ(state.step, 9);
  EXPECT_EQ(state.skips_in_row, 2);
}

TEST(LossScalerTest, AnOverflowAtTheFloorHalts) {
  ScalerSettings settings = Latched();
  settings.min = 4;
  EXPECT_EQ(ScalerAfter(settings, "11").scale(), 4);
  EXPECT_EQ(ScalerAfter(settings, "11").halt(), Halt::kNone);  // reaching it is no failure
  EXPECT_EQ(ScalerAfter(settings, "11 0").halt(), Halt::kNone);
  EXPECT_EQ(ScalerAfter(settings, "11 1").halt(), Halt::kScaleAtFloor);
}

TEST(LossScalerTest, AnOverflowAtTheFloorThatHysteresisForgivesDoesNotHalt) {
  ScalerSettings settings = Latched();
  settings.init = 4;
  settings.min = 4;
  settings.hysteresis = 2;
  EXPECT_EQ(ScalerAfter(settings, "1").halt(), Halt::kNone);
  EXPECT_EQ(ScalerAfter(settings, "11").halt(), Halt::kScaleAtFloor);
}

TEST(LossScalerTest, ClampGoesOnAtTheFloorUntilTooManyAreSkippedInARow) {
  ScalerSettings settings = Latched();
  settings.halt_at_floor = 0;
  settings.min = 4;
  settings.max_skips_in_row = 7;
  EXPECT_EQ(ScalerAfter(settings, "111111 0 111111").halt(), Halt::kNone);
  EXPECT_EQ(ScalerAfter(settings, "111111 0 1111111").halt(), Halt::kSkipsInRow);
}

TEST(LossScalerTest, AScaleThatNoLongerHelpsHalts) {
  ScalerSettings settings = Latched();
  settings.init = 0x1p-13;
  EXPECT_EQ(ScalerAfter(settings, "1").scale(), 0x1p-14);
  EXPECT_EQ(ScalerAfter(settings, "1").halt(), Halt::kNone);
  EXPECT_EQ(ScalerAfter(settings, "11").halt(), Halt::kScaleTooSmall);
  settings.min_useful_scale = 0x1p-15;
  EXPECT_EQ(ScalerAfter(settings, "11").halt(), Halt::kNone);
}

TEST(LossScalerTest, SkipsInARowHaltWithoutAScaleToo) {
  ScalerSettings settings = Latched();
  settings.enabled = 0;
  settings.min_useful_scale = 2;  // says nothing about a scale that is switched off
  EXPECT_EQ(ScalerAfter(settings, std::string(49, '1')).halt(), Halt::kNone);
  EXPECT_EQ(ScalerAfter(settings, std::string(50, '1')).halt(), Halt::kSkipsInRow);
}

TEST(LossScalerTest, WhenSeveralLimitsFireTheMostTellingIsNamed) {
  ScalerSettings settings = Latched();
  settings.init = 0x1p-15;
  settings.min = 0x1p-15;
  settings.max_skips_in_row = 1;
  EXPECT_EQ(ScalerAfter(settings, "1").halt(), Halt::kScaleAtFloor);
  settings.halt_at_floor = 0;
  EXPECT_EQ(ScalerAfter(settings, "1").halt(), Halt::kScaleTooSmall);
}

TEST(LossScalerTest, HaltedItChangesNothingAnyMore) {
  ScalerSettings settings = Latched();
  settings.max_skips_in_row = 2;
  LossScaler scaler = ScalerAfter(settings, "0 11");
  ASSERT_EQ(scaler.halt(), Halt::kSkipsInRow);
  StepState before = scaler.state();
  scaler.Update(false);
  scaler.Update(true);
  before.found_inf = 1;  // the caller's, written before the update
  EXPECT_EQ(std::memcmp(&before, &scaler.state(), sizeof(before)), 0);
}

TEST(LossScalerTest, WithTheLatchOffNothingHalts) {
  ScalerSettings settings = Latched();
  settings.latch = 0;
  settings.min = 1;
  settings.min_useful_scale = 8;
  EXPECT_EQ(ScalerAfter(settings, std::string(200, '1')).halt(), Halt::kNone);
  EXPECT_EQ(ScalerAfter(settings, std::string(200, '1')).state().iteration, 200);
}

}  // namespace
}  // namespace mantissa::trainer
