#include "worker/trainer/lineage_start.h"

#include <string>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "proto/spec/defaults.h"
#include "worker/amp/loss_scaler.h"

namespace mantissa::trainer {
namespace {

v1::JobSpec SpecOf(const std::string& training) {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "training { model { mlp {} } data { train { synthetic {} } } " + training + " }", &spec))
      << training;
  return spec::ResolveDefaults(spec);
}

v1::Lineage LineageFrom(const std::string& text) {
  v1::Lineage lineage;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &lineage)) << text;
  return lineage;
}

ScalerSettings SettingsOf(const v1::JobSpec& spec) { return ScalerSettingsFrom(spec.training().precision(), 1); }

TEST(LineageStartTest, WithoutAWordOfTheServerItIsTheSpecs) {
  const v1::JobSpec spec = SpecOf("precision { mode: FP16 }");
  v1::RunAttempt run;
  EXPECT_EQ(LineageOf(run, spec).number(), 1);
  EXPECT_EQ(LineageOf(run, spec).precision(), v1::PrecisionSpec::FP16);
  *run.mutable_lineage() = LineageFrom("number: 3 precision: FP32");
  EXPECT_EQ(LineageOf(run, spec).number(), 3);
  EXPECT_EQ(LineageOf(run, spec).precision(), v1::PrecisionSpec::FP32);
}

TEST(LineageStartTest, EveryLearningRateIsMultiplied) {
  const v1::Lineage lineage = LineageFrom("number: 2 precision: BF16 learning_rate_factor: 0.25");
  EXPECT_EQ(InLineage(SpecOf(""), lineage).training().optimizer().adamw().learning_rate(), 0.25e-3);
  EXPECT_EQ(InLineage(SpecOf("optimizer { adam { learning_rate: 4 } }"), lineage)
                .training()
                .optimizer()
                .adam()
                .learning_rate(),
            1);
  EXPECT_EQ(
      InLineage(SpecOf("optimizer { sgd { learning_rate: 2 } }"), lineage).training().optimizer().sgd().learning_rate(),
      0.5);
  const v1::JobSpec groups =
      InLineage(SpecOf("parameter_groups { match: 'head' learning_rate: 8 } parameter_groups { match: 'x' }"), lineage);
  EXPECT_EQ(groups.training().parameter_groups(0).learning_rate(), 2);
  EXPECT_FALSE(groups.training().parameter_groups(1).has_learning_rate()) << "it follows the optimizer's";
}

TEST(LineageStartTest, ThePrecisionIsTheLineagesAndNothingElseChanges) {
  v1::JobSpec spec = SpecOf("precision { mode: FP16 fallback: [BF16, FP32] } seed: 5");
  const v1::JobSpec fallen = InLineage(spec, LineageFrom("number: 2 precision: BF16 learning_rate_factor: 1"));
  spec.mutable_training()->mutable_precision()->set_mode(v1::PrecisionSpec::BF16);
  EXPECT_EQ(fallen.SerializeAsString(), spec.SerializeAsString());
}

// A state that was saved after 60 windows, the last ten of them skipped, in the middle of a growth interval.
RunSnapshot Saved() {
  RunSnapshot snapshot;
  snapshot.step.iteration = 60;
  snapshot.step.step = 41;
  snapshot.step.loss_scale = 512;
  snapshot.step.growth_tracker = 7;
  snapshot.step.hysteresis_tracker = 2;
  snapshot.step.skips_in_row = 10;
  snapshot.lineage = 1;
  return snapshot;
}

Manifest SavedIn(std::int32_t lineage, const std::string& precision) {
  Manifest manifest;
  manifest.lineage = lineage;
  manifest.precision = precision;
  return manifest;
}

TEST(LineageStartTest, WhatWasSavedInThisLineageStaysAsItIs) {
  RunSnapshot snapshot = Saved();
  BeginLineage(LineageFrom("number: 1 precision: FP16"), SavedIn(1, "FP16"),
               SettingsOf(SpecOf("precision { mode: FP16 }")), snapshot);
  EXPECT_EQ(snapshot.lineage, 1);
  EXPECT_EQ(snapshot.step.skips_in_row, 10);
  EXPECT_EQ(snapshot.step.loss_scale, 512);
  EXPECT_EQ(snapshot.step.growth_tracker, 7);
  EXPECT_EQ(snapshot.step.hysteresis_tracker, 2);
}

TEST(LineageStartTest, ARollbackKeepsTheScaleAndForgetsTheSkips) {
  RunSnapshot snapshot = Saved();
  BeginLineage(LineageFrom("number: 2 precision: FP16"), SavedIn(1, "FP16"),
               SettingsOf(SpecOf("precision { mode: FP16 }")), snapshot);
  EXPECT_EQ(snapshot.lineage, 2);
  EXPECT_EQ(snapshot.step.skips_in_row, 0);
  EXPECT_EQ(snapshot.step.iteration, 60);
  EXPECT_EQ(snapshot.step.step, 41);
  EXPECT_EQ(snapshot.step.loss_scale, 512);
  EXPECT_EQ(snapshot.step.growth_tracker, 7);
  EXPECT_EQ(snapshot.step.hysteresis_tracker, 2);
}

TEST(LineageStartTest, InAnotherPrecisionTheScaleIsThatOnesFirst) {
  for (const char* mode : {"BF16", "FP32"}) {
    RunSnapshot snapshot = Saved();
    const v1::Lineage lineage = LineageFrom(std::string("number: 2 precision: ") + mode);
    BeginLineage(lineage, SavedIn(1, "FP16"), SettingsOf(InLineage(SpecOf("precision { mode: FP16 }"), lineage)),
                 snapshot);
    EXPECT_EQ(snapshot.step.loss_scale, 1);
    EXPECT_EQ(snapshot.step.growth_tracker, 0);
    EXPECT_EQ(snapshot.step.hysteresis_tracker, 1);
    EXPECT_EQ(snapshot.step.iteration, 60);
    EXPECT_EQ(snapshot.step.step, 41);
  }
  RunSnapshot snapshot = Saved();
  BeginLineage(LineageFrom("number: 2 precision: FP16"), SavedIn(1, "FP32"),
               SettingsOf(SpecOf("precision { mode: FP16 loss_scale { preset: MEGATRON init: 1024 } }")), snapshot);
  EXPECT_EQ(snapshot.step.loss_scale, 1024);
  EXPECT_EQ(snapshot.step.hysteresis_tracker, 2);
}

}  // namespace
}  // namespace mantissa::trainer
