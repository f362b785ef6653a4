#include "worker/checkpoint/manifest.h"

#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;

Manifest Example() {
  Manifest manifest;
  manifest.job_id = "01j00000000000000000000000";
  manifest.attempt = 2;
  manifest.step = 200;
  manifest.iteration = 203;
  manifest.lineage = 1;
  manifest.precision = "FP16";
  manifest.finite = true;
  manifest.create_time_unix_nanos = 1790000000000000001;
  manifest.files = {{"model.safetensors", 10, std::string(64, 'a')},
                    {"optimizer.safetensors", 0, std::string(64, '0')}};
  manifest.scaler = {.loss_scale = 0.1F, .growth_tracker = 7, .hysteresis_tracker = -1, .skips_in_row = 3};
  manifest.data_cursor = {8, 19, 23};
  manifest.execution_plan = {{"threads", "1"}};
  manifest.versions = {{"torch", "2.11.0"}};
  return manifest;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ManifestTest, WhatIsWrittenIsReadToTheLastBit) {
  const auto parsed = ParseManifest(EncodeManifest(Example()));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, Example());
}

TEST(ManifestTest, GenerationZeroNamesItsSeedToTheLastDigit) {
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{18446744073709551615u}}) {
    Manifest manifest = Example();
    manifest.files.clear();
    manifest.initial = InitialState{seed};
    const auto parsed = ParseManifest(EncodeManifest(manifest));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, manifest);
    const std::string json = EncodeManifest(manifest);
    const std::string text = "\"" + std::to_string(seed) + "\"";
    for (const char* wrong : {"\"-1\"", "\"\"", "\"1x\"", "7", "\"18446744073709551616\""}) {
      const std::string other = Replaced(json, "\"seed\": " + text, std::string("\"seed\": ") + wrong);
      EXPECT_FALSE(ParseManifest(other).ok()) << wrong;
    }
    EXPECT_FALSE(ParseManifest(Replaced(json, "\"seed\"", "\"other\"")).ok());
  }
}

TEST(ManifestTest, ScalesSurviveExactly) {
  for (const float scale : {1.0F, 65536.0F, 0x1p-149F, 0x1.fffffep127F, 1.0F / 3, 0.0F}) {
    Manifest manifest = Example();
    manifest.scaler.loss_scale = scale;
    const auto parsed = ParseManifest(EncodeManifest(manifest));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->scaler.loss_scale, scale);
  }
}

TEST(ManifestTest, EveryTruncationIsAnError) {
  const std::string json = EncodeManifest(Example());
  // Without the line feed after the last brace it is still whole.
  for (std::size_t size = 0; size + 1 < json.size(); ++size) EXPECT_FALSE(ParseManifest(json.substr(0, size)).ok());
}

TEST(ManifestTest, NamesTheFieldThatIsWrong) {
  const std::string json = EncodeManifest(Example());
  const auto fault = [](const std::string& text) {
    const auto parsed = ParseManifest(text);
    EXPECT_FALSE(parsed.ok());
    return std::string(parsed.status().message());
  };
  EXPECT_THAT(fault(Replaced(json, "\"step\": 200", "\"step\": \"200\"")), HasSubstr("step"));
  EXPECT_THAT(fault(Replaced(json, "\"step\": 200", "\"step\": -1")), HasSubstr("step"));
  EXPECT_THAT(fault(Replaced(json, "\"step\": 200", "\"step\": 18446744073709551615")), HasSubstr("step"));
  EXPECT_THAT(fault(Replaced(json, "\"attempt\": 2", "\"attempt\": 4294967297")), HasSubstr("attempt"));
  EXPECT_THAT(fault(Replaced(json, "\"iteration\"", "\"other\"")), HasSubstr("iteration"));
  EXPECT_THAT(fault(Replaced(json, "\"finite\": true", "\"finite\": 1")), HasSubstr("finite"));
  EXPECT_THAT(fault(Replaced(json, "\"model.safetensors\"", "\"../model.safetensors\"")), HasSubstr("files"));
  EXPECT_THAT(fault(Replaced(json, "\"model.safetensors\"", "\"optimizer.safetensors\"")), HasSubstr("files"));
  EXPECT_THAT(fault(Replaced(json, "\"model.safetensors\"", "\"MANIFEST.json\"")), HasSubstr("files"));
  EXPECT_THAT(fault(Replaced(json, "aaaa", "AAAA")), HasSubstr("files"));
  EXPECT_THAT(fault(Replaced(json, "\"growth_tracker\": 7", "\"growth_tracker\": 1.5")), HasSubstr("growth_tracker"));
  EXPECT_THAT(fault(Replaced(json, "\"loss_scale\": ", "\"loss_scale\": -")), HasSubstr("loss_scale"));
  EXPECT_THAT(fault(Replaced(json, "\"format\": 1", "\"format\": 2")), HasSubstr("format 2"));
  EXPECT_THAT(fault(Replaced(json, "\"FP16\"", "16")), HasSubstr("precision"));
  EXPECT_THAT(fault("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(fault(std::string((1 << 20) + 1, ' ')), HasSubstr("too many"));
}

}  // namespace
}  // namespace mantissa::trainer
