#include "absl/strings/str_cat.h"

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void ExpectPrecisionFaults(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    ExpectFaults({{absl::StrCat("training { precision { ", each.changes, " } }"),
                   each.fault.empty() ? "" : "training.precision." + each.fault}});
  }
}

// With the scale in use, that is in FP16.
void ExpectScaleFaults(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    ExpectPrecisionFaults({{absl::StrCat("mode: FP16 loss_scale { ", each.changes, " }"),
                            each.fault.empty() ? "" : "loss_scale." + each.fault}});
  }
}

TEST(ValidatePrecisionTest, Modes) {
  ExpectPrecisionFaults({{"mode: FP32", ""}, {"mode: FP16", ""}, {"mode: BF16", ""}, {"mode: TF32", ""}});
  v1::JobSpec unknown = MlpSpec();
  unknown.mutable_training()->mutable_precision()->set_mode(static_cast<v1::PrecisionSpec::Mode>(50));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.precision.mode UNKNOWN_VALUE"));
}

TEST(ValidatePrecisionTest, WhatIsGoodIsTaken) {
  ExpectPrecisionFaults({{"on_failure: CLAMP", ""},
                         {"on_failure: FAIL", ""},
                         {"on_failure: FAIL fallback: FP32", ""},
                         {"fallback: [FP32, TF32]", ""},
                         {"storage: FP32_PARAMETERS", ""},
                         {"mode: TF32 emulate: true", ""}});
}

TEST(ValidatePrecisionTest, AnOverrideNamesModulesAndSaysSomethingOfThem) {
  ExpectPrecisionFaults({{"overrides { match: 'head' compute: FP32 }", ""},
                         {"overrides { match: 'Linear' storage: MASTER_FP32 }", ""},
                         {"overrides { compute: FP32 }", "overrides[0].match REQUIRED"},
                         {"overrides { match: 'head' }", "overrides[0] REQUIRED"},
                         {"overrides { match: 'he*ad' compute: FP32 }", "overrides[0].match INVALID_FORMAT"},
                         {"overrides { match: 'Weight' compute: FP32 }", "overrides[0].match UNKNOWN_VALUE"},
                         {"overrides { match: 'Bias' compute: FP32 }", "overrides[0].match UNKNOWN_VALUE"},
                         {"overrides { match: 'Norm' compute: FP32 }", "overrides[0].match UNKNOWN_VALUE"},
                         {"overrides { match: 'heed' compute: FP32 }", "overrides[0].match UNKNOWN_VALUE"}});
  v1::JobSpec spec = MlpSpec();
  for (int i = 0; i < 1024; ++i) {
    v1::PrecisionOverride& override = *spec.mutable_training()->mutable_precision()->add_overrides();
    override.set_match(i + 1 < 1024 ? "layers" : "head");
    override.set_compute(v1::PrecisionSpec::FP32);
  }
  EXPECT_EQ(Faults(spec).size(), 1022u) << "all but the last of those that say the same";
  *spec.mutable_training()->mutable_precision()->add_overrides() = spec.training().precision().overrides(0);
  EXPECT_THAT(Faults(spec), ElementsAre("training.precision.overrides OUT_OF_RANGE"));
}

TEST(ValidatePrecisionTest, AnOverrideComputesInWhatTheRunHas) {
  ExpectPrecisionFaults(
      {{"mode: FP16 overrides { match: '**' compute: BF16 } overrides { match: 'head' compute: FP16 }", ""},
       {"mode: BF16 overrides { match: 'head' compute: FP16 }", "overrides[0].compute CONFLICT"},
       {"mode: BF16 overrides { match: 'head' compute: TF32 }", "overrides[0].compute CONFLICT"},
       {"mode: TF32 overrides { match: 'head' compute: BF16 }", ""},
       {"mode: TF32 overrides { match: 'head' compute: FP32 }", "overrides[0].compute CONFLICT"},
       {"mode: FP16 fallback: TF32 overrides { match: 'head' compute: FP32 }", "overrides[0].compute CONFLICT"},
       {"mode: FP16 fallback: FP32 overrides { match: 'head' compute: FP32 }", ""}});
  v1::JobSpec unknown = MlpSpec("training { precision { overrides { match: 'head' } } }");
  v1::PrecisionOverride& override = *unknown.mutable_training()->mutable_precision()->mutable_overrides(0);
  override.set_compute(static_cast<v1::PrecisionSpec::Mode>(50));
  override.set_storage(static_cast<v1::PrecisionSpec::Storage>(50));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.precision.overrides[0].compute UNKNOWN_VALUE",
                                           "training.precision.overrides[0].storage UNKNOWN_VALUE"));
}

TEST(ValidatePrecisionTest, ALossSpikeIsWellAboveTheMedianForAWhile) {
  ExpectPrecisionFaults({{"loss_spike {}", ""},
                         {"loss_spike { action: ROLLBACK factor: 1.5 iterations: 1 }", ""},
                         {"loss_spike { factor: 1 }", "loss_spike.factor OUT_OF_RANGE"},
                         {"loss_spike { factor: nan }", "loss_spike.factor OUT_OF_RANGE"},
                         {"loss_spike { factor: 1e7 }", "loss_spike.factor OUT_OF_RANGE"},
                         {"loss_spike { iterations: 0 }", "loss_spike.iterations OUT_OF_RANGE"},
                         {"loss_spike { iterations: 1001 }", "loss_spike.iterations OUT_OF_RANGE"}});
  v1::JobSpec unknown = MlpSpec();
  unknown.mutable_training()->mutable_precision()->mutable_loss_spike()->set_action(
      static_cast<v1::LossSpikeGuard::Action>(50));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.precision.loss_spike.action UNKNOWN_VALUE"));
}

TEST(ValidatePrecisionTest, APrecisionToFallBackToIsAnotherOneAndNamedOnce) {
  ExpectPrecisionFaults({{"mode: FP16 fallback: [BF16, FP32]", ""},
                         {"mode: FP16 on_failure: FALLBACK fallback: BF16", ""},
                         {"mode: FP16 on_failure: ROLLBACK fallback: BF16", ""},
                         {"mode: FP16 on_failure: ROLLBACK", ""},
                         {"mode: FP16 on_failure: FALLBACK", "on_failure CONFLICT"},
                         {"mode: FP16 fallback: [BF16, FP16]", "fallback[1] CONFLICT"},
                         {"fallback: BF16", "fallback[0] CONFLICT"},  // the default mode
                         {"mode: FP16 fallback: [FP32, BF16, FP32]", "fallback[2] CONFLICT"},
                         {"mode: FP16 fallback: MODE_UNSPECIFIED", "fallback[0] REQUIRED"}});
  v1::JobSpec unknown = MlpSpec();
  unknown.mutable_training()->mutable_precision()->add_fallback(static_cast<v1::PrecisionSpec::Mode>(50));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.precision.fallback[0] UNKNOWN_VALUE"));
}

TEST(ValidatePrecisionTest, Rollbacks) {
  ExpectPrecisionFaults({{"on_failure: ROLLBACK max_rollbacks: 0", ""},
                         {"on_failure: ROLLBACK max_rollbacks: 100", ""},
                         {"on_failure: ROLLBACK max_rollbacks: 101", "max_rollbacks OUT_OF_RANGE"},
                         {"on_failure: FAIL max_rollbacks: -1", "max_rollbacks OUT_OF_RANGE"}});
}

TEST(ValidatePrecisionTest, MastersNeedALowFormatBesideThem) {
  ExpectPrecisionFaults({{"storage: MASTER_FP32", ""},  // the default is BF16
                         {"mode: BF16 storage: MASTER_FP32", ""},
                         {"mode: FP16 storage: MASTER_FP32", ""},
                         {"mode: FP32 storage: MASTER_FP32", "storage CONFLICT"},
                         {"mode: FP32 storage: FP32_PARAMETERS", ""}});
  EXPECT_THAT(Faults(MlpSpec("training { precision { mode: TF32 storage: MASTER_FP32 } }")),
              ElementsAre("training.precision.storage CONFLICT"));
  const auto violations = ValidateJobSpec(MlpSpec("training { precision { mode: FP32 storage: MASTER_FP32 } }"));
  EXPECT_THAT(violations[0].description, testing::HasSubstr("use mode BF16 or FP16, or remove storage"));
}

TEST(ValidatePrecisionTest, UnknownEnumValuesAreRefused) {
  v1::JobSpec spec = MlpSpec();
  v1::PrecisionSpec& precision = *spec.mutable_training()->mutable_precision();
  precision.set_on_failure(static_cast<v1::PrecisionSpec::OnFailure>(50));
  precision.set_storage(static_cast<v1::PrecisionSpec::Storage>(50));
  precision.mutable_loss_scale()->set_preset(static_cast<v1::LossScaleSpec::Preset>(50));
  EXPECT_THAT(Faults(spec),
              ElementsAre("training.precision.loss_scale.preset UNKNOWN_VALUE",
                          "training.precision.on_failure UNKNOWN_VALUE", "training.precision.storage UNKNOWN_VALUE"));
}

TEST(ValidatePrecisionTest, EveryPresetIsGood) {
  for (const char* preset : {"TORCH", "MEGATRON", "DEEPSPEED", "APEX", "APEX_HYSTERESIS"}) {
    ExpectScaleFaults({{absl::StrCat("preset: ", preset), ""}});
  }
}

TEST(ValidatePrecisionTest, TheFirstScale) {
  ExpectScaleFaults({{"init: 1", ""},
                     {"init: 1.7014118346046923e38", ""},  // 2^127
                     {"init: 0", "init OUT_OF_RANGE"},
                     {"init: -1", "init OUT_OF_RANGE"},
                     {"init: nan", "init OUT_OF_RANGE"},
                     {"init: inf", "init OUT_OF_RANGE"},
                     {"init: 1e39", "init OUT_OF_RANGE"},
                     {"init: 1e-60", "init OUT_OF_RANGE"}});
}

TEST(ValidatePrecisionTest, GrowthAndBackoff) {
  ExpectScaleFaults({{"growth_factor: 1.001", ""},
                     {"growth_factor: 1", "growth_factor OUT_OF_RANGE"},
                     {"growth_factor: 1.00000000001", "growth_factor OUT_OF_RANGE"},
                     {"growth_factor: 0.5", "growth_factor OUT_OF_RANGE"},
                     {"growth_factor: nan", "growth_factor OUT_OF_RANGE"},
                     {"growth_factor: inf", "growth_factor OUT_OF_RANGE"},
                     {"backoff_factor: 0.999", ""},
                     {"backoff_factor: 1", "backoff_factor OUT_OF_RANGE"},
                     {"backoff_factor: 0.99999999999", "backoff_factor OUT_OF_RANGE"},
                     {"backoff_factor: 0", "backoff_factor OUT_OF_RANGE"},
                     {"backoff_factor: nan", "backoff_factor OUT_OF_RANGE"},
                     {"growth_interval: 1", ""},
                     {"growth_interval: 0", "growth_interval OUT_OF_RANGE"},
                     {"hysteresis: 2147483647", ""},
                     {"hysteresis: 0", "hysteresis OUT_OF_RANGE"}});
}

TEST(ValidatePrecisionTest, FloorAndCeiling) {
  ExpectScaleFaults({{"min: 65536 max: 65536", ""},
                     {"min: 0 max: 0", ""},
                     {"min: -1", "min OUT_OF_RANGE"},
                     {"min: nan", "min OUT_OF_RANGE"},
                     {"max: -1", "max OUT_OF_RANGE"},
                     {"max: inf", "max OUT_OF_RANGE"},
                     {"init: 8 min: 8 max: 4", "min CONFLICT"},
                     {"init: 8 min: 16", "init CONFLICT"},
                     {"init: 8 max: 4", "init CONFLICT"},
                     {"preset: MEGATRON init: 0.5", "init CONFLICT"},
                     {"preset: MEGATRON init: 0.5 min: 0", ""},
                     {"preset: APEX init: 33554432", "init CONFLICT"}});
}

TEST(ValidatePrecisionTest, AScaleThatIsNotReadIsStillChecked) {
  ExpectPrecisionFaults({{"mode: BF16 loss_scale { init: 8 }", ""},
                         {"mode: BF16 loss_scale { init: nan }", "loss_scale.init OUT_OF_RANGE"},
                         {"mode: FP32 loss_scale { init: 8 min: 16 }", "loss_scale.init CONFLICT"}});
}

TEST(ValidatePrecisionTest, TheMessageNamesTheRangeOfTheFirstScale) {
  const auto violations = ValidateJobSpec(MlpSpec("training { precision { mode: FP16 loss_scale { init: 0 } } }"));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field_path, "training.precision.loss_scale.init");
  EXPECT_THAT(violations[0].description, HasSubstr("is 0; a number at least 1.17549e-38 and at most 1.70141e+38"));
  EXPECT_THAT(violations[0].description, HasSubstr("such as 65536"));
}

}  // namespace
}  // namespace mantissa::spec
