#include "proto/spec/module_match.h"

#include <string>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::spec {
namespace {

using testing::HasSubstr;

bool Covers(const std::string& pattern, const std::string& path) {
  EXPECT_EQ(ModuleMatch::FaultOf(pattern), "") << pattern;
  return ModuleMatch(pattern).Covers(path, {"Linear", "Weight"});
}

TEST(ModuleMatchTest, APathCoversWhatItNamesAndEverythingBeneath) {
  EXPECT_TRUE(Covers("blocks.0.attention", "blocks.0.attention"));
  EXPECT_TRUE(Covers("blocks.0.attention", "blocks.0.attention.qkv.weight"));
  EXPECT_TRUE(Covers("blocks", "blocks.0.attention.qkv.weight"));
  EXPECT_TRUE(Covers("blocks.0.attention.qkv.weight", "blocks.0.attention.qkv.weight"));
  EXPECT_FALSE(Covers("blocks.0.attention", "blocks.0"));
  EXPECT_FALSE(Covers("blocks.0.attention", "blocks.1.attention"));
}

TEST(ModuleMatchTest, NeverAPieceOfAName) {
  EXPECT_FALSE(Covers("blocks.1", "blocks.10.norm1.weight"));
  EXPECT_FALSE(Covers("blocks.0.attention", "blocks.0.attention2.qkv"));
  EXPECT_FALSE(Covers("attention", "blocks.0.attention"));
  EXPECT_FALSE(Covers("norm", "blocks.0.norm1"));
  EXPECT_FALSE(Covers("bias", "head.bias"));
  EXPECT_FALSE(Covers("Blocks", "blocks.0"));
}

TEST(ModuleMatchTest, AStarStandsForOnePart) {
  EXPECT_TRUE(Covers("blocks.*.norm1", "blocks.11.norm1.bias"));
  EXPECT_FALSE(Covers("blocks.*.norm1", "blocks.norm1"));
  EXPECT_FALSE(Covers("blocks.*.qkv", "blocks.0.attention.qkv"));
  EXPECT_TRUE(Covers("blocks.*.*.qkv", "blocks.0.attention.qkv"));
  EXPECT_TRUE(Covers("*", "head.weight"));
  EXPECT_TRUE(Covers("*.weight", "head.weight"));
  EXPECT_FALSE(Covers("*.weight", "layers.0.weight"));
}

TEST(ModuleMatchTest, TwoStarsStandForAnyNumberOfParts) {
  EXPECT_TRUE(Covers("**.bias", "head.bias"));
  EXPECT_TRUE(Covers("**.bias", "blocks.3.attention.qkv.bias"));
  EXPECT_FALSE(Covers("**.bias", "blocks.3.attention.qkv.weight"));
  EXPECT_TRUE(Covers("**.head", "head"));
  EXPECT_TRUE(Covers("blocks.**.bias", "blocks.bias"));
  EXPECT_TRUE(Covers("blocks.**.bias", "blocks.0.norm1.bias"));
  EXPECT_FALSE(Covers("blocks.**.bias", "head.bias"));
  EXPECT_TRUE(Covers("**", "anything.at.all"));
  EXPECT_TRUE(Covers("head.**", "head"));
  EXPECT_TRUE(Covers("**.**.weight", "head.weight"));
}

TEST(ModuleMatchTest, AfterAMismatchTwoStarsTakeMore) {
  EXPECT_TRUE(Covers("**.a.b", "a.a.b"));
  EXPECT_TRUE(Covers("**.a.b", "a.c.a.b.d"));
  EXPECT_FALSE(Covers("**.a.b", "a.a.a"));
  EXPECT_TRUE(Covers("**.a.**.b.c", "x.a.b.b.c"));
  EXPECT_FALSE(Covers("**.a.**.b.c", "x.b.c.a"));
  EXPECT_TRUE(Covers("**.*.b", "a.b"));
  EXPECT_FALSE(Covers("**.*.b", "b"));
}

TEST(ModuleMatchTest, ManyStarsTakeNoLongerThanFew) {
  std::string pattern, path;
  for (int i = 0; i < 60; ++i) absl::StrAppend(&pattern, "**.a.");
  pattern.append("b");
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&path, "a.");
  path.append("c");
  EXPECT_LE(pattern.size(), 512u);
  EXPECT_FALSE(ModuleMatch(pattern).Covers(path, {}));
}

TEST(ModuleMatchTest, ATypeIsOneOfTheTypes) {
  EXPECT_TRUE(Covers("Linear", "head.weight"));
  EXPECT_TRUE(Covers("Weight", "head.weight"));
  EXPECT_FALSE(Covers("Lin", "head.weight"));
  EXPECT_FALSE(Covers("Norm", "head.weight"));
  EXPECT_FALSE(Covers("Linear2", "Linear2"));  // a type is no path
}

TEST(ModuleMatchTest, AParameterIsOfItsLayersTypeAndItsOwn) {
  const Parameter scale = {"norm1.weight", {8}, ParameterKind::kNorm, ModuleType::kLayerNorm};
  const Parameter bias = {"head.bias", {8}, ParameterKind::kBias, ModuleType::kLinear};
  const Parameter table = {"token_embedding.weight", {9, 8}, ParameterKind::kEmbedding, ModuleType::kEmbedding};
  const auto covered = [](const std::string& pattern, const Parameter& parameter) {
    return ModuleMatch(pattern).Covers(parameter);
  };
  EXPECT_TRUE(covered("LayerNorm", scale));
  EXPECT_TRUE(covered("Norm", scale));
  EXPECT_FALSE(covered("Weight", scale));
  EXPECT_TRUE(covered("Linear", bias));
  EXPECT_TRUE(covered("Bias", bias));
  EXPECT_FALSE(covered("Weight", bias));
  EXPECT_TRUE(covered("Embedding", table));
  EXPECT_TRUE(covered("token_embedding", table));
}

TEST(ModuleMatchTest, FormIsChecked) {
  EXPECT_THAT(ModuleMatch::FaultOf(""), HasSubstr("empty part"));
  EXPECT_THAT(ModuleMatch::FaultOf("a..b"), HasSubstr("empty part"));
  EXPECT_THAT(ModuleMatch::FaultOf(".a"), HasSubstr("empty part"));
  EXPECT_THAT(ModuleMatch::FaultOf("a."), HasSubstr("empty part"));
  EXPECT_THAT(ModuleMatch::FaultOf("blocks.1*"), HasSubstr("a star stands for a whole part"));
  EXPECT_THAT(ModuleMatch::FaultOf("***"), HasSubstr("a star stands for a whole part"));
  EXPECT_THAT(ModuleMatch::FaultOf("Linear.weight"), HasSubstr("capital letter"));
  EXPECT_THAT(ModuleMatch::FaultOf("Lin*"), HasSubstr("capital letter"));
  EXPECT_THAT(ModuleMatch::FaultOf(std::string(257, 'a')), HasSubstr("257 bytes; at most 256"));
  EXPECT_EQ(ModuleMatch::FaultOf(std::string(256, 'a')), "");
}

TEST(MatchableNamesTest, TheNearestIsAPathThatThereIsOrAType) {
  std::vector<std::string> paths;
  for (int i = 0; i < 12; ++i) {
    paths.push_back(absl::StrCat("blocks.", i, ".attention.qkv.weight"));
    paths.push_back(absl::StrCat("blocks.", i, ".norm1.weight"));
  }
  paths.push_back("head.weight");
  const MatchableNames names(paths, {"Linear", "LayerNorm", "Bias"});
  EXPECT_EQ(names.Nearest("blocks.3.atention"), "blocks.3.attention");
  EXPECT_EQ(names.Nearest("block.3.norm1"), "blocks.3.norm1");
  EXPECT_EQ(names.Nearest("blocks.13.norm1"), "blocks.1.norm1");
  EXPECT_EQ(names.Nearest("blocks.*.atention"), "blocks.*.attention");
  EXPECT_EQ(names.Nearest("heads"), "head");
  EXPECT_EQ(names.Nearest("bias"), "Bias");
  EXPECT_EQ(names.Nearest("Layernorm"), "LayerNorm");
  EXPECT_EQ(names.Nearest("linear"), "Linear");
  // Somewhere below the top.
  EXPECT_EQ(names.Nearest("attention"), "**.attention");
  EXPECT_EQ(names.Nearest("attention.qkv"), "**.attention.qkv");
  EXPECT_EQ(names.Nearest("3.norm1"), "**.*.norm1");
  EXPECT_EQ(names.Nearest("something_else"), "");
}

}  // namespace
}  // namespace mantissa::spec
