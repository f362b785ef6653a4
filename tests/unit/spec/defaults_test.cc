#include "proto/spec/defaults.h"

#include <limits>

#include "google/protobuf/util/message_differencer.h"
#include <gtest/gtest.h>

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using google::protobuf::util::MessageDifferencer;

void ExpectSame(const v1::JobSpec& got, const v1::JobSpec& expected) {
  EXPECT_TRUE(MessageDifferencer::Equals(got, expected)) << got.DebugString() << "expected:\n"
                                                         << expected.DebugString();
}

TEST(DefaultsTest, ASpecOfModelAndDataIsFilledCompletely) {
  ExpectSame(ResolveDefaults(MlpSpec()), SpecFrom(R"(
    name: 'training'
    resources { device: AUTO }
    retry { max_attempts: 4 initial_backoff { seconds: 1 } max_backoff { seconds: 60 } }
    timeouts { start { seconds: 60 } stall { seconds: 300 } }
    on_disconnect: KEEP
    training {
      model { mlp { hidden: 128 activation: RELU } }
      data { train { synthetic { samples: 4096 shape: 64 classes: 10 } } }
      precision { mode: BF16 on_failure: FAIL storage: FP32_PARAMETERS check_loss: true statistics_window: 1000 }
      optimizer { adamw { learning_rate: 1e-3 beta1: 0.9 beta2: 0.999 epsilon: 1e-8 weight_decay: 0.01 } }
      schedule { constant {} }
      batch_size: 64 accumulation: 1 max_grad_norm: 1.0 epochs: 1
      checkpoint { keep: 2 } telemetry { every_iterations: 1 ranges_every_iterations: 100 } execution { mode: AUTO }
    })"));
}

TEST(DefaultsTest, ResolvingTwiceChangesNothing) {
  for (const char* changes : {"", "training { precision { mode: FP16 loss_scale { preset: MEGATRON } } }",
                              "training { data { eval { synthetic {} } } optimizer { sgd {} } iterations: 7 }"}) {
    const v1::JobSpec once = ResolveDefaults(MlpSpec(changes));
    ExpectSame(ResolveDefaults(once), once);
  }
}

TEST(DefaultsTest, WhatIsGivenStays) {
  const v1::JobSpec given = SpecFrom(R"(
    name: 'mine' priority: 3
    resources { device: CUDA gpus: 1 }
    retry { max_attempts: 1 initial_backoff {} max_backoff { nanos: 5 } }
    timeouts { start { seconds: 1 } stall { seconds: 2 } }
    on_disconnect: STOP
    training {
      model { transformer_encoder { layers: 2 d_model: 8 heads: 2 d_feed_forward: 3 activation: TANH dropout: 0.5 } }
      data { train { synthetic { samples: 5 shape: [2, 3] classes: 4 seed: 9 } }
             eval { synthetic { samples: 6 shape: [2, 3] classes: 4 } } }
      precision { mode: FP32 on_failure: CLAMP storage: MASTER_FP32 check_loss: false statistics_window: 7 }
      optimizer { sgd { learning_rate: 0 momentum: 0 } }
      schedule { linear { warmup_steps: 1 } }
      batch_size: 0 accumulation: 0 max_grad_norm: 0 iterations: 0
      evaluation { every_steps: 0 } checkpoint { keep: 0 } telemetry { every_iterations: 0 ranges_every_iterations: 0 }
      execution { mode: EAGER }
    })");
  ExpectSame(ResolveDefaults(given), given);
}

TEST(DefaultsTest, ModelsAreFilled) {
  const v1::JobSpec encoder = ResolveDefaults(
      SpecFrom("training { model { transformer_encoder { d_model: 64 } } data { train { synthetic {} } } }"));
  const v1::TransformerEncoder& model = encoder.training().model().transformer_encoder();
  EXPECT_EQ(model.layers(), 1);
  EXPECT_EQ(model.heads(), 4);
  EXPECT_EQ(model.d_feed_forward(), 256);
  EXPECT_EQ(model.activation(), v1::Activation::RELU);
  EXPECT_EQ(ResolveDefaults(SpecFrom("training { model { transformer_encoder {} } }"))
                .training()
                .model()
                .transformer_encoder()
                .d_model(),
            128);
  const v1::Synthetic& data = encoder.training().data().train().synthetic();
  ASSERT_EQ(data.shape_size(), 2);
  EXPECT_EQ(data.shape(0) * data.shape(1), 64);
}

TEST(DefaultsTest, TheVocabularyIsTheDatas) {
  const auto gpt = [](const std::string& train, const std::string& fields) {
    return ResolveDefaults(SpecFrom("training { model { gpt { " + fields + " } } data { train { " + train + " } } }"))
        .training()
        .model()
        .gpt();
  };
  const v1::Gpt text = gpt("text { files: 'a' }", "");
  EXPECT_EQ(text.vocabulary(), 256);
  EXPECT_EQ(text.layers(), 4);
  EXPECT_EQ(text.d_model(), 128);
  EXPECT_EQ(text.heads(), 4);
  EXPECT_EQ(text.context(), 128);
  EXPECT_EQ(gpt("synthetic { classes: 50 }", "").vocabulary(), 50);
  EXPECT_EQ(gpt("synthetic {}", "").vocabulary(), 10);
  EXPECT_EQ(gpt("text { files: 'a' }", "vocabulary: 300").vocabulary(), 300);
}

TEST(DefaultsTest, ALanguageModelsSyntheticDataHasNoShape) {
  EXPECT_EQ(ResolveDefaults(SpecFrom("training { model { gpt {} } data { train { synthetic {} } } }"))
                .training()
                .data()
                .train()
                .synthetic()
                .shape_size(),
            0);
}

TEST(DefaultsTest, IdxIsScaledByItsBytes) {
  const v1::JobSpec spec = ResolveDefaults(SpecFrom("training { data { train { idx {} } } }"));
  EXPECT_EQ(spec.training().data().train().idx().full_scale(), 255);
  EXPECT_FALSE(spec.training().data().train().idx().has_classes());
}

TEST(DefaultsTest, OptimizersAreFilled) {
  const v1::JobSpec adam = ResolveDefaults(MlpSpec("training { optimizer { adam { beta1: 0 } } }"));
  EXPECT_EQ(adam.training().optimizer().adam().learning_rate(), 1e-3);
  EXPECT_EQ(adam.training().optimizer().adam().beta1(), 0);
  EXPECT_EQ(adam.training().optimizer().adam().beta2(), 0.999);
  EXPECT_EQ(adam.training().optimizer().adam().epsilon(), 1e-8);
  EXPECT_EQ(adam.training().optimizer().adam().weight_decay(), 0);
  const v1::JobSpec sgd = ResolveDefaults(MlpSpec("training { optimizer { sgd {} } }"));
  EXPECT_EQ(sgd.training().optimizer().sgd().learning_rate(), 1e-2);
  EXPECT_EQ(sgd.training().optimizer().sgd().momentum(), 0.9);
}

TEST(DefaultsTest, OneGpuIsMeantWhereCudaIsAskedFor) {
  EXPECT_EQ(ResolveDefaults(MlpSpec("resources { device: CUDA }")).resources().gpus(), 1);
  EXPECT_EQ(ResolveDefaults(MlpSpec("resources { device: CPU }")).resources().gpus(), 0);
  EXPECT_EQ(ResolveDefaults(MlpSpec("")).resources().gpus(), 0);
}

TEST(DefaultsTest, EvaluationIsAboutTenTimesOverARunOfKnownLength) {
  const auto every = [](const std::string& changes) {
    return ResolveDefaults(MlpSpec("training { " + changes + " }")).training().evaluation();
  };
  EXPECT_EQ(every("data { eval { synthetic {} } } iterations: 1000").every_steps(), 100);
  EXPECT_EQ(every("data { eval { synthetic {} } } iterations: 3").every_steps(), 1);
  EXPECT_EQ(every("data { eval { synthetic {} } } epochs: 5").every_steps(), 32);  // 64 windows an epoch
  EXPECT_FALSE(every("iterations: 1000").has_every_steps());
  EXPECT_FALSE(ResolveDefaults(SpecFrom("training { data { train { idx {} } eval { idx {} } } }"))
                   .training()
                   .evaluation()
                   .has_every_steps());
}

TEST(DefaultsTest, EvaluationIntervalStaysInItsRange) {
  EXPECT_EQ(EvaluationInterval(0), 1);
  EXPECT_EQ(EvaluationInterval(-5), 1);
  EXPECT_EQ(EvaluationInterval(690), 69);
  EXPECT_EQ(EvaluationInterval(std::numeric_limits<std::int64_t>::max()), std::numeric_limits<std::int32_t>::max());
}

TEST(DefaultsTest, APartialLastWindowIsAWindow) {
  EXPECT_EQ(IterationsPerEpoch(128, 64), 2);
  EXPECT_EQ(IterationsPerEpoch(129, 64), 3);
  EXPECT_EQ(IterationsPerEpoch(1, 64), 1);
  EXPECT_EQ(IterationsPerEpoch(0, 64), 0);
  EXPECT_EQ(IterationsPerEpoch(-1, 64), 0);
  EXPECT_EQ(IterationsPerEpoch(10, 0), 0);
  EXPECT_EQ(IterationsPerEpoch(std::numeric_limits<std::int64_t>::max(), 1), std::numeric_limits<std::int64_t>::max());
}

struct PresetRow {
  v1::LossScaleSpec::Preset preset;
  double init;
  std::int32_t growth_interval;
  std::int32_t hysteresis;
  bool consecutive;
  double min;
  double max;
};

TEST(DefaultsTest, PresetsAreTheirProjects) {
  using Scale = v1::LossScaleSpec;
  for (const PresetRow& row : {PresetRow{Scale::TORCH, 65536, 2000, 1, false, 0, 0},
                               PresetRow{Scale::MEGATRON, 4294967296, 1000, 2, false, 1, 0},
                               PresetRow{Scale::DEEPSPEED, 65536, 1000, 2, false, 1, 0},
                               PresetRow{Scale::APEX, 65536, 2000, 1, false, 0, 16777216},
                               PresetRow{Scale::APEX_HYSTERESIS, 65536, 2000, 2, true, 0, 0}}) {
    v1::JobSpec spec = MlpSpec("training { precision { mode: FP16 } }");
    spec.mutable_training()->mutable_precision()->mutable_loss_scale()->set_preset(row.preset);
    const v1::LossScaleSpec scale = ResolveDefaults(spec).training().precision().loss_scale();
    EXPECT_EQ(scale.preset(), row.preset);
    EXPECT_EQ(scale.init(), row.init);
    EXPECT_EQ(scale.growth_factor(), 2);
    EXPECT_EQ(scale.backoff_factor(), 0.5);
    EXPECT_EQ(scale.growth_interval(), row.growth_interval);
    EXPECT_EQ(scale.hysteresis(), row.hysteresis);
    EXPECT_TRUE(scale.has_consecutive_hysteresis());
    EXPECT_EQ(scale.consecutive_hysteresis(), row.consecutive);
    EXPECT_TRUE(scale.has_min() && scale.has_max());
    EXPECT_EQ(scale.min(), row.min);
    EXPECT_EQ(scale.max(), row.max);
  }
}

TEST(DefaultsTest, AFieldBesideAPresetReplacesThePresets) {
  const v1::LossScaleSpec scale =
      ResolveDefaults(MlpSpec("training { precision { mode: FP16 loss_scale { preset: MEGATRON init: 8 min: 0 "
                              "consecutive_hysteresis: true } } }"))
          .training()
          .precision()
          .loss_scale();
  EXPECT_EQ(scale.init(), 8);
  EXPECT_EQ(scale.min(), 0);
  EXPECT_TRUE(scale.consecutive_hysteresis());
  EXPECT_EQ(scale.growth_interval(), 1000);
}

TEST(DefaultsTest, WithoutAPresetTheScaleIsPyTorchs) {
  const v1::PrecisionSpec precision =
      ResolveDefaults(MlpSpec("training { precision { mode: FP16 } }")).training().precision();
  EXPECT_EQ(precision.loss_scale().preset(), v1::LossScaleSpec::TORCH);
  EXPECT_EQ(precision.loss_scale().init(), 65536);
}

TEST(DefaultsTest, OtherPrecisionsHaveNoScaleToResolve) {
  EXPECT_FALSE(
      ResolveDefaults(MlpSpec("training { precision { mode: BF16 } }")).training().precision().has_loss_scale());
}

TEST(DefaultsTest, OnFailureFollowsThePreset) {
  const auto on_failure = [](const std::string& precision) {
    return ResolveDefaults(MlpSpec("training { precision { " + precision + " } }")).training().precision().on_failure();
  };
  using Spec = v1::PrecisionSpec;
  EXPECT_EQ(on_failure("mode: FP16"), Spec::FAIL);
  EXPECT_EQ(on_failure("mode: FP16 loss_scale { preset: MEGATRON }"), Spec::CLAMP);
  EXPECT_EQ(on_failure("mode: FP16 loss_scale { preset: DEEPSPEED }"), Spec::FAIL);
  EXPECT_EQ(on_failure("mode: BF16 loss_scale { preset: MEGATRON }"), Spec::FAIL);
  EXPECT_EQ(on_failure("mode: FP16 fallback: BF16"), Spec::FALLBACK);
  EXPECT_EQ(on_failure("mode: FP16 fallback: BF16 on_failure: CLAMP"), Spec::CLAMP);
}

TEST(DefaultsTest, HostileSpecsAreResolvedWithoutHarm) {
  const v1::JobSpec spec =
      ResolveDefaults(SpecFrom("training { model { transformer_encoder { d_model: -2147483648 } } "
                               "data { train { synthetic { samples: -1 } } eval {} } batch_size: -3 epochs: -7 }"));
  EXPECT_EQ(spec.training().model().transformer_encoder().d_feed_forward(), std::numeric_limits<std::int32_t>::min());
  ResolveDefaults(v1::JobSpec());
  EXPECT_EQ(ResolveDefaults(SpecFrom("study {}")).name(), "study");
  EXPECT_EQ(ResolveDefaults(SpecFrom("study { format_table {} }")).name(), "format_table");
}

}  // namespace
}  // namespace mantissa::spec
