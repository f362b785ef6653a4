// Bundles: what an attempt keeps of a skipped iteration, and what a replay of it says elsewhere.
#include "worker/trainer/bundle/bundle.h"

#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_replace.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "worker/checkpoint/sha256.h"
#include "worker/trainer/bundle/replay_bundle.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The output of layer 3 leaves the format, whatever the loss scale.
std::string Overflowing(const std::string& precision, const std::string& factor = "1e3") {
  const std::string scale = "layers { scale { factor: " + factor + " } } ";
  return "training { model { sequential { layers { linear { out: 8 } } layers { dropout { probability: 0.25 } } " +
         scale + scale + "layers { linear { out: 3 } } } } accumulation: 3 iterations: 200 precision { " + precision +
         " } }";
}

std::string BundleOf(const RunFolder& folder) {
  return (folder.checkpoints() / kJob / "attempt-0001" / "bundle").string();
}

class BundleTest : public ::testing::TestWithParam<std::tuple<std::string, std::string, std::string>> {};

TEST_P(BundleTest, AReplayElsewhereFindsTheSamePlaceBitForBit) {
  const auto& [name, precision, factor] = GetParam();
  const RunFolder folder;
  const AttemptSeen seen = RunIn(folder, AttemptOf(Overflowing(precision, factor)));
  ASSERT_EQ(seen.ended.state(), v1::Attempt::FAILED) << seen.ended.message();
  std::vector<std::string> names;
  for (const v1::Artifact& artifact : seen.ended.artifacts()) names.push_back(artifact.name());
  EXPECT_THAT(names,
              ElementsAre("bundle-0001/model.safetensors", "bundle-0001/optimizer.safetensors",
                          "bundle-0001/batch.safetensors", "bundle-0001/BUNDLE.json", "bundle-0001/MANIFEST.json"));
  for (const std::string& path : seen.ended.artifact_paths()) {
    EXPECT_TRUE(std::filesystem::exists(folder.checkpoints() / path)) << path;
  }
  const auto replayed = ReplayBundle(BundleOf(folder), {});
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_TRUE(replayed->reproduced) << ReplayText(*replayed);
  EXPECT_EQ(replayed->found.location().stage(), v1::OverflowLocation::ACTIVATION);
  EXPECT_EQ(replayed->found.location().module(), "layers.3");
  if (replayed->recorded.has_location()) {
    EXPECT_EQ(replayed->found.location().SerializeAsString(), replayed->recorded.location().SerializeAsString());
  }
  EXPECT_THAT(replayed->notes, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Precisions, BundleTest,
    ::testing::Values(std::tuple{"Fp16", "mode: FP16", "1e3"}, std::tuple{"Bf16", "mode: BF16", "1e25"},
                      std::tuple{"Fp32", "mode: FP32", "1e25"},
                      std::tuple{"Fp16Masters", "mode: FP16 storage: MASTER_FP32", "1e3"},
                      std::tuple{"Fp16Overridden", "mode: FP16 overrides { match: 'layers.4' compute: FP32 }", "1e3"},
                      std::tuple{"Rollback", "mode: FP16 on_failure: ROLLBACK", "1e3"}),
    [](const auto& info) { return std::get<0>(info.param); });

class DamagedBundleTest : public ::testing::Test {
 protected:
  DamagedBundleTest() {
    EXPECT_EQ(RunIn(folder_, AttemptOf(Overflowing("mode: FP16"))).ended.state(), v1::Attempt::FAILED);
  }

  std::string Fault() const {
    const auto replayed = ReplayBundle(BundleOf(folder_), {});
    EXPECT_FALSE(replayed.ok());
    return std::string(replayed.status().message());
  }
  std::string Read(const std::string& name) const { return RunFolder::Read(BundleOf(folder_) + "/" + name); }
  void Write(const std::string& name, const std::string& text) const {
    RunFolder::Write(BundleOf(folder_) + "/" + name, text);
  }

  const RunFolder folder_;
};

TEST_F(DamagedBundleTest, WhatIsDamagedIsNamed) {
  std::string batch = Read("batch.safetensors");
  batch.back() ^= 1;
  Write("batch.safetensors", batch);
  EXPECT_THAT(Fault(), HasSubstr("batch.safetensors is damaged"));
}

TEST_F(DamagedBundleTest, WhatIsMissingIsNamed) {
  std::filesystem::remove(BundleOf(folder_) + "/model.safetensors");
  EXPECT_THAT(Fault(), HasSubstr("model.safetensors"));
  std::filesystem::remove(BundleOf(folder_) + "/MANIFEST.json");
  EXPECT_THAT(Fault(), HasSubstr("MANIFEST.json"));
}

TEST_F(DamagedBundleTest, NoFolderAndACheckpointAreNoBundles) {
  EXPECT_FALSE(ReplayBundle(BundleOf(folder_) + "-elsewhere", {}).ok());
  const RunFolder other;
  const AttemptSeen seen = RunIn(other, AttemptOf());
  const auto replayed = ReplayBundle((other.checkpoints() / seen.saved.back().path()).string(), {});
  EXPECT_THAT(std::string(replayed.status().message()), HasSubstr("this is a checkpoint, not a bundle"));
}

TEST_F(DamagedBundleTest, WhatBundleJsonSaysIsCheckedFieldByField) {
  const std::string good = Read("BUNDLE.json");
  ASSERT_TRUE(ParseBundle(good).ok()) << ParseBundle(good).status();
  const auto bundle = *ParseBundle(good);
  EXPECT_EQ(bundle.iteration, 1);
  EXPECT_EQ(bundle.micro_batches.size(), 3u);
  EXPECT_EQ(EncodeBundle(bundle), good);
  const auto fault = [&](const std::string& from, const std::string& to) {
    const std::string changed = absl::StrReplaceAll(good, {{from, to}});
    EXPECT_NE(changed, good) << from;
    return std::string(ParseBundle(changed).status().message());
  };
  EXPECT_THAT(fault("\"format\": 1", "\"format\": 2"), HasSubstr("newer format"));
  EXPECT_THAT(fault("\"iteration\": 1,\n \"window\"", "\"iteration\": 0,\n \"window\""), HasSubstr("iteration"));
  EXPECT_THAT(fault("\"iteration\": 1,\n \"window\"", "\"iteration\": 18446744073709551615,\n \"window\""),
              HasSubstr("iteration"));
  EXPECT_THAT(fault("\"window\": 0", "\"window\": \"0\""), HasSubstr("window"));
  EXPECT_THAT(fault("\"samples\": 32", "\"samples\": 2"), HasSubstr("micro_batches"));
  EXPECT_THAT(fault("\"samples\": 32", "\"sample\": 32"), HasSubstr("data"));
  EXPECT_THAT(fault("\"precision\": \"FP16\"", "\"precision\": \"MODE_UNSPECIFIED\""), HasSubstr("lineage"));
  EXPECT_THAT(fault("\"mode\": \"FP16\"", "\"mode\": \"FP17\""), HasSubstr("spec"));
  EXPECT_THAT(fault("\"batch_size\": 8", "\"batch_size\": -8"), AllOf(HasSubstr("spec"), HasSubstr("batch_size")));
  EXPECT_FALSE(ParseBundle("").ok());
  EXPECT_FALSE(ParseBundle("[]").ok());
  EXPECT_FALSE(ParseBundle(good.substr(0, good.size() / 2)).ok());
  EXPECT_FALSE(ParseBundle(std::string("\xff\xfe{", 3)).ok());
}

TEST_F(DamagedBundleTest, SamplesThatAreNotThoseOfTheSpecAreRefused) {
  // Sound, but of another batch plan.
  const std::string json = absl::StrReplaceAll(Read("BUNDLE.json"), {{"\"batch_size\": 8", "\"batch_size\": 16"}});
  const std::string manifest = Read("MANIFEST.json");
  const std::string hash = Sha256Hex(Read("BUNDLE.json"));
  Write("BUNDLE.json", json);
  Write("MANIFEST.json",
        absl::StrReplaceAll(manifest,
                            {{hash, Sha256Hex(json)}, {std::to_string(json.size() - 1), std::to_string(json.size())}}));
  EXPECT_THROW(ReplayBundle(BundleOf(folder_), {}).IgnoreError(), c10::Error);
}

TEST(BundleReclaimTest, ALaterAttemptRemovesATornOneAndLeavesAWholeOne) {
  const RunFolder folder;
  ASSERT_EQ(RunIn(folder, AttemptOf(Overflowing("mode: FP16"))).ended.state(), v1::Attempt::FAILED);
  v1::RunAttempt second = AttemptOf("training { model { mlp {} } }", 2);
  second.mutable_committed();
  RunIn(folder, second);
  EXPECT_TRUE(std::filesystem::exists(BundleOf(folder))) << "its worker may still be handing it in";
  std::filesystem::remove(BundleOf(folder) + "/MANIFEST.json");
  v1::RunAttempt third = AttemptOf("training { model { mlp {} } }", 3);
  third.mutable_committed();
  RunIn(folder, third);
  EXPECT_FALSE(std::filesystem::exists(BundleOf(folder)));
}

}  // namespace
}  // namespace mantissa::trainer
