// Single modules in another precision than the run's, and precisions that the device has not.
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/small_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// The type of every module's output.
class TypeProbe final : public ActivationProbe {
 public:
  at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
    types[module] = c10::toString(output.scalar_type());
    return output;
  }
  std::map<std::string, std::string> types;
};

std::map<std::string, std::string> TypesIn(const std::string& changes) {
  TypeProbe probe;
  SmallRunOptions options;
  options.probe = &probe;
  SmallRun run(changes, std::move(options));
  run.TrainTo(3);
  EXPECT_EQ(run.state().step_state().step, 3);
  return probe.types;
}

TEST(OverridesTest, AModuleComputesInWhatItsOverrideSays) {
  const std::string mlp = "model { mlp { hidden: 8 hidden: 8 } } ";
  EXPECT_THAT(TypesIn(mlp + "precision { mode: BF16 overrides { match: 'head' compute: FP32 } }"),
              ElementsAre(Pair("head", "Float"), Pair("layers.0", "BFloat16"), Pair("layers.1", "BFloat16")));
  EXPECT_THAT(TypesIn(mlp + "precision { mode: FP16 loss_scale { init: 8 } overrides { match: 'Linear' compute: BF16 } "
                            "overrides { match: 'layers.1' compute: FP16 } }"),
              ElementsAre(Pair("head", "BFloat16"), Pair("layers.0", "BFloat16"), Pair("layers.1", "Half")));
}

TEST(OverridesTest, EveryKindOfModelObeysThem) {
  const auto encoder = TypesIn(
      "model { transformer_encoder { layers: 1 d_model: 8 heads: 2 } } "
      "precision { mode: BF16 overrides { match: 'Attention' compute: FP32 } "
      "overrides { match: '**.up' compute: FP32 } }");
  EXPECT_EQ(encoder.at("layers.0.attention"), "Float");
  EXPECT_EQ(encoder.at("layers.0.attention.qkv"), "BFloat16");
  EXPECT_EQ(encoder.at("layers.0.feed_forward.up"), "Float");
  EXPECT_EQ(encoder.at("layers.0.feed_forward.down"), "BFloat16");
  const auto gpt = TypesIn(
      "model { gpt { layers: 1 d_model: 8 heads: 2 context: 4 } } data { train { synthetic { samples: 32 classes: 5 } "
      "} "
      "} precision { mode: BF16 overrides { match: 'head' compute: FP32 } }");
  EXPECT_EQ(gpt.at("head"), "Float");
  EXPECT_EQ(gpt.at("blocks.0.attention"), "BFloat16");
  const auto convnet = TypesIn(
      "model { convnet { channels: [3, 4] } } data { train { synthetic { shape: [4, 4] } } } "
      "precision { mode: BF16 overrides { match: 'stages.1' compute: FP32 } }");
  EXPECT_EQ(convnet.at("stages.0.0.conv"), "BFloat16");
  EXPECT_EQ(convnet.at("stages.1.0.conv"), "Float");
}

std::map<std::string, std::string> BitsAfter(const std::string& precision) {
  SmallRun run("model { mlp { hidden: 8 dropout: 0.25 } } accumulation: 2 precision { " + precision + " }");
  run.TrainTo(15);
  return BitsOf(run.state());
}

TEST(OverridesTest, SayingWhatHoldsAnywayChangesNoBit) {
  const auto plain = BitsAfter("mode: BF16");
  EXPECT_THAT(Differences(BitsAfter("mode: BF16 overrides { match: '**' compute: BF16 }"), plain), IsEmpty());
  EXPECT_THAT(Differences(BitsAfter("mode: FP32 overrides { match: '**' compute: BF16 }"), plain), IsEmpty());
  EXPECT_THAT(Differences(BitsAfter("mode: BF16 overrides { match: 'head' storage: MASTER_FP32 }"), plain), IsEmpty());
  EXPECT_THAT(Differences(BitsAfter("mode: BF16 overrides { match: 'head' compute: FP32 }"), plain),
              ::testing::Contains("head.weight"));
}

TEST(OverridesTest, ARunWithThemIsResumedBitForBit) {
  const std::string changes =
      "model { mlp { hidden: 8 dropout: 0.25 } } precision { mode: FP16 loss_scale { init: 1e9 growth_interval: 5 } "
      "storage: MASTER_FP32 overrides { match: 'head' compute: FP32 } overrides { match: 'layers' compute: BF16 } }";
  SmallRun whole(changes);
  whole.TrainTo(20);
  SmallRun first(changes);
  first.TrainTo(7);
  SmallRun rest(changes);
  ASSERT_TRUE(rest.state().Restore(first.state().Snapshot()).ok());
  rest.state().model().parameters().CastWeights();
  rest.TrainTo(20);
  EXPECT_THAT(Differences(BitsOf(rest.state()), BitsOf(whole.state())), IsEmpty());
}

class AttemptPrecisionTest : public ::testing::Test {
 protected:
  AttemptSeen Run(const std::string& precision) {
    return RunIn(folder_, AttemptOf("training { precision { " + precision + " } }"), {.precisions = device_});
  }

  const RunFolder folder_;
  const std::vector<v1::PrecisionSpec::Mode> device_ = {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16,
                                                        v1::PrecisionSpec::BF16};
};

TEST_F(AttemptPrecisionTest, WhatTheDeviceLacksIsRefusedWithTheRemedy) {
  const AttemptSeen seen = Run("mode: TF32");
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::PRECISION_UNSUPPORTED);
  EXPECT_THAT(seen.ended.message(), AllOf(HasSubstr("training.precision: cpu has no arithmetic for TF32"),
                                          HasSubstr("precision.emulate: true")));
}

TEST_F(AttemptPrecisionTest, EmulatedItIsTrainedAndEveryReportSaysSo) {
  const AttemptSeen seen = Run("mode: TF32 emulate: true");
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_TRUE(seen.ended.result().emulated());
  EXPECT_EQ(seen.ended.result().precision(), v1::PrecisionSpec::TF32);
  EXPECT_TRUE(seen.events().at(0).started().emulated());
  const auto manifest =
      ParseManifest(RunFolder::Read(folder_.checkpoints() / seen.saved.back().path() / "MANIFEST.json"));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->execution_plan.at("emulated"), "TF32");
}

TEST_F(AttemptPrecisionTest, WhatTheDeviceHasIsNotEmulatedWhateverTheSpecAllows) {
  const AttemptSeen seen = Run("mode: BF16 emulate: true");
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_FALSE(seen.ended.result().emulated());
  EXPECT_FALSE(seen.events().at(0).started().emulated());
}

TEST_F(AttemptPrecisionTest, AnOverrideThatTheDataLeavesNothingToIsRefusedBeforeAnyTraining) {
  const AttemptSeen seen = Run("mode: BF16 overrides { match: 'layers.7' compute: FP32 }");
  EXPECT_EQ(seen.ended.reason(), v1::Reason::BAD_SPEC);
  EXPECT_THAT(seen.ended.message(), HasSubstr("training.precision.overrides[0].match: is \"layers.7\""));
}

}  // namespace
}  // namespace mantissa::trainer
