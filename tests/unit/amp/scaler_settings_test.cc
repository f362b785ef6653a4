#include <functional>
#include <vector>

#include "gtest/gtest.h"

#include "proto/spec/defaults.h"
#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {
namespace {

using Precision = v1::PrecisionSpec;
using LossScale = v1::LossScaleSpec;

Precision Fp16(LossScale::Preset preset) {
  Precision precision;
  precision.set_mode(Precision::FP16);
  precision.mutable_loss_scale()->set_preset(preset);
  return precision;
}

struct Expected {
  LossScale::Preset preset;
  double init;
  int growth_interval;
  int hysteresis;
  bool consecutive;
  double min;
  double max;
  bool halts_at_floor;
};

TEST(ScalerSettingsTest, EachPresetSetsWhatItsOriginalDoes) {
  const std::vector<Expected> table = {
      {LossScale::PRESET_UNSPECIFIED, 0x1p16, 2000, 1, false, 0, 0, true},
      {LossScale::TORCH, 0x1p16, 2000, 1, false, 0, 0, true},
      {LossScale::MEGATRON, 0x1p32, 1000, 2, false, 1, 0, false},
      {LossScale::DEEPSPEED, 0x1p16, 1000, 2, false, 1, 0, true},
      {LossScale::APEX, 0x1p16, 2000, 1, false, 0, 0x1p24, true},
      {LossScale::APEX_HYSTERESIS, 0x1p16, 2000, 2, true, 0, 0, true},
  };
  for (const Expected& row : table) {
    const ScalerSettings settings = ScalerSettingsFrom(Fp16(row.preset), 1);
    SCOPED_TRACE(LossScale::Preset_Name(row.preset));
    EXPECT_EQ(settings.enabled, 1);
    EXPECT_EQ(settings.init, row.init);
    EXPECT_EQ(settings.growth_factor, 2);
    EXPECT_EQ(settings.backoff_factor, 0.5);
    EXPECT_EQ(settings.growth_interval, row.growth_interval);
    EXPECT_EQ(settings.hysteresis, row.hysteresis);
    EXPECT_EQ(settings.consecutive_hysteresis, row.consecutive ? 1 : 0);
    EXPECT_EQ(settings.min, row.min);
    EXPECT_EQ(settings.max, row.max);
    EXPECT_EQ(settings.halt_at_floor, row.halts_at_floor ? 1 : 0);
    EXPECT_EQ(settings.latch, 1);
    EXPECT_EQ(settings.max_skips_in_row, 50);
    EXPECT_EQ(settings.min_useful_scale, 0x1p-14);
  }
}

TEST(ScalerSettingsTest, AFieldBesideThePresetReplacesThePresetsAndNoOther) {
  Precision precision = Fp16(LossScale::MEGATRON);
  LossScale& given = *precision.mutable_loss_scale();
  const std::vector<std::function<void()>> overrides = {
      [&] { given.set_init(8); },
      [&] { given.set_growth_factor(4); },
      [&] { given.set_backoff_factor(.25); },
      [&] { given.set_growth_interval(7); },
      [&] { given.set_hysteresis(5); },
      [&] { given.set_consecutive_hysteresis(true); },
      [&] { given.set_min(0); },
      [&] { given.set_max(1024); },
  };
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    given = Fp16(LossScale::MEGATRON).loss_scale();
    overrides[i]();
    const ScalerSettings settings = ScalerSettingsFrom(precision, 1);
    EXPECT_EQ(settings.init, i == 0 ? 8 : 0x1p32);
    EXPECT_EQ(settings.growth_factor, i == 1 ? 4 : 2);
    EXPECT_EQ(settings.backoff_factor, i == 2 ? 0.25 : 0.5);
    EXPECT_EQ(settings.growth_interval, i == 3 ? 7 : 1000);
    EXPECT_EQ(settings.hysteresis, i == 4 ? 5 : 2);
    EXPECT_EQ(settings.consecutive_hysteresis, i == 5 ? 1 : 0);
    EXPECT_EQ(settings.min, i == 6 ? 0 : 1);  // an explicit zero is a value
    EXPECT_EQ(settings.max, i == 7 ? 1024 : 0);
  }
}

TEST(ScalerSettingsTest, OnlyClampGoesOnAtTheFloorWhateverThePreset) {
  for (const LossScale::Preset preset : {LossScale::TORCH, LossScale::MEGATRON, LossScale::DEEPSPEED}) {
    Precision precision = Fp16(preset);
    for (const Precision::OnFailure on_failure : {Precision::FAIL, Precision::ROLLBACK, Precision::FALLBACK}) {
      precision.set_on_failure(on_failure);
      EXPECT_EQ(ScalerSettingsFrom(precision, 1).halt_at_floor, 1);
    }
    precision.set_on_failure(Precision::CLAMP);
    EXPECT_EQ(ScalerSettingsFrom(precision, 1).halt_at_floor, 0);
  }
}

TEST(ScalerSettingsTest, AFloorThatFp32CanNotHoldIsAFloorAllTheSame) {
  for (const double floor : {0.1, 0.7, 1e-3}) {  // the FP32 number next to it is above it, below it, above it
    Precision precision = Fp16(LossScale::TORCH);
    precision.mutable_loss_scale()->set_init(4 * floor);
    precision.mutable_loss_scale()->set_min(floor);
    SCOPED_TRACE(floor);
    LossScaler scaler(ScalerSettingsFrom(precision, 1));
    for (int overflow = 0; overflow < 2; ++overflow) scaler.Update(true);
    EXPECT_EQ(scaler.scale(), static_cast<float>(floor));
    EXPECT_EQ(scaler.halt(), Halt::kNone);
    scaler.Update(true);
    EXPECT_EQ(scaler.scale(), static_cast<float>(floor));
    EXPECT_EQ(scaler.halt(), Halt::kScaleAtFloor);
  }
}

TEST(ScalerSettingsTest, OutsideFp16TheScaleIsOffAndTheLimitsOnSkipsStay) {
  for (const Precision::Mode mode : {Precision::FP32, Precision::BF16}) {
    Precision precision = Fp16(LossScale::MEGATRON);
    precision.set_mode(mode);
    const ScalerSettings settings = ScalerSettingsFrom(precision, 1);
    EXPECT_EQ(settings.enabled, 0);
    EXPECT_EQ(settings.latch, 1);
    EXPECT_EQ(settings.max_skips_in_row, 50);
    EXPECT_EQ(InitialStepState(settings).loss_scale, 1);
  }
}

TEST(ScalerSettingsTest, ClippingAndTheCheckOfTheLossArriveInEveryMode) {
  for (const Precision::Mode mode : {Precision::FP32, Precision::BF16, Precision::FP16}) {
    Precision precision;
    precision.set_mode(mode);
    EXPECT_EQ(ScalerSettingsFrom(precision, 0.25).max_grad_norm, 0.25);
    EXPECT_EQ(ScalerSettingsFrom(precision, 0).max_grad_norm, 0);
    EXPECT_EQ(ScalerSettingsFrom(precision, 1).check_loss, 1);
    precision.set_check_loss(true);
    EXPECT_EQ(ScalerSettingsFrom(precision, 1).check_loss, 1);
    precision.set_check_loss(false);
    EXPECT_EQ(ScalerSettingsFrom(precision, 1).check_loss, 0);
  }
}

TEST(ScalerSettingsTest, AResolvedSpecSaysTheSameAsTheOneItCameFrom) {
  v1::JobSpec job;
  job.mutable_training()->mutable_model()->mutable_mlp();
  Precision& precision = *job.mutable_training()->mutable_precision();
  precision = Fp16(LossScale::DEEPSPEED);
  precision.mutable_loss_scale()->set_init(64);
  const ScalerSettings raw = ScalerSettingsFrom(precision, 1);
  const ScalerSettings resolved = ScalerSettingsFrom(spec::ResolveDefaults(job).training().precision(), 1);
  EXPECT_EQ(resolved.init, raw.init);
  EXPECT_EQ(resolved.growth_interval, raw.growth_interval);
  EXPECT_EQ(resolved.hysteresis, raw.hysteresis);
  EXPECT_EQ(resolved.min, raw.min);
  EXPECT_EQ(resolved.halt_at_floor, raw.halt_at_floor);
}

// The figures that users of the originals know.
TEST(ScalerSettingsTest, PresetsRunIntoTheirLimitsWhenTheirOriginalsDo) {
  const auto overflows_until_halt = [](LossScale::Preset preset) {
    LossScaler scaler(ScalerSettingsFrom(Fp16(preset), 1));
    int overflows = 0;
    while (scaler.halt() == Halt::kNone) {
      scaler.Update(true);
      overflows += 1;
    }
    return std::pair(overflows, scaler.halt());
  };
  // 1 forgiven, 16 halvings to the floor, and one more.
  EXPECT_EQ(overflows_until_halt(LossScale::DEEPSPEED), std::pair(18, Halt::kScaleAtFloor));
  // It clamps: 50 skips are the end.
  EXPECT_EQ(overflows_until_halt(LossScale::MEGATRON), std::pair(50, Halt::kSkipsInRow));
  // No floor: 2^16 to 2^-15.
  EXPECT_EQ(overflows_until_halt(LossScale::TORCH), std::pair(31, Halt::kScaleTooSmall));

  LossScaler megatron(ScalerSettingsFrom(Fp16(LossScale::MEGATRON), 1));
  for (int i = 0; i < 17; ++i) megatron.Update(true);
  EXPECT_EQ(megatron.scale(), 65536);
}

}  // namespace
}  // namespace mantissa::trainer
