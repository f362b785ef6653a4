#include "proto/spec/model_shape.h"

#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;

v1::TrainingSpec Resolved(const std::string& training) {
  return ResolveDefaults(SpecFrom("training { " + training + " }")).training();
}

// `path 3x4` of each parameter.
std::vector<std::string> Listed(const std::vector<Parameter>& parameters) {
  std::vector<std::string> lines;
  for (const Parameter& parameter : parameters) {
    lines.push_back(absl::StrCat(parameter.path, " ", absl::StrJoin(parameter.shape, "x")));
  }
  return lines;
}

TEST(ModelShapeTest, Mlp) {
  const v1::TrainingSpec training = Resolved("model { mlp { hidden: [128, 32] } }");
  EXPECT_THAT(Listed(ModelParameters(training.model(), {.features = {8, 8}, .classes = 10})),
              ElementsAre("layers.0.weight 128x64", "layers.0.bias 128", "layers.1.weight 32x128", "layers.1.bias 32",
                          "head.weight 10x32", "head.bias 10"));
}

TEST(ModelShapeTest, AnMlpWithoutHiddenLayersIsItsHead) {
  const v1::TrainingSpec training = Resolved("model { mlp {} }");
  EXPECT_THAT(Listed(ModelParameters(training.model(), {.features = {64}, .classes = 10})),
              ElementsAre("head.weight 10x64", "head.bias 10"));
}

TEST(ModelShapeTest, TransformerEncoder) {
  const v1::TrainingSpec training =
      Resolved("model { transformer_encoder { layers: 1 d_model: 16 heads: 2 d_feed_forward: 24 } }");
  EXPECT_THAT(Listed(ModelParameters(training.model(), {.features = {4, 8}, .classes = 3})),
              ElementsAre("input.weight 16x8", "input.bias 16", "layers.0.attention.qkv.weight 48x16",
                          "layers.0.attention.qkv.bias 48", "layers.0.attention.proj.weight 16x16",
                          "layers.0.attention.proj.bias 16", "layers.0.norm1.weight 16", "layers.0.norm1.bias 16",
                          "layers.0.feed_forward.up.weight 24x16", "layers.0.feed_forward.up.bias 24",
                          "layers.0.feed_forward.down.weight 16x24", "layers.0.feed_forward.down.bias 16",
                          "layers.0.norm2.weight 16", "layers.0.norm2.bias 16", "head.weight 3x16", "head.bias 3"));
}

TEST(ModelShapeTest, FeaturesOfTheModelsWidthAreNotProjected) {
  const v1::TrainingSpec training = Resolved("model { transformer_encoder { layers: 2 d_model: 16 heads: 2 } }");
  const auto parameters = ModelParameters(training.model(), {.features = {4, 16}, .classes = 3});
  EXPECT_EQ(parameters.front().path, "layers.0.attention.qkv.weight");
  EXPECT_EQ(parameters.size(), 2 * 12 + 2u);
}

TEST(ModelShapeTest, Gpt) {
  const v1::TrainingSpec training =
      Resolved("model { gpt { layers: 1 d_model: 8 heads: 2 context: 5 } } data { train { text { files: 'a' } } }");
  EXPECT_THAT(
      Listed(ModelParameters(training.model(), *SampleShapeOf(training))),
      ElementsAre("token_embedding.weight 256x8", "position_embedding.weight 5x8", "blocks.0.norm1.weight 8",
                  "blocks.0.norm1.bias 8", "blocks.0.attention.qkv.weight 24x8", "blocks.0.attention.qkv.bias 24",
                  "blocks.0.attention.proj.weight 8x8", "blocks.0.attention.proj.bias 8", "blocks.0.norm2.weight 8",
                  "blocks.0.norm2.bias 8", "blocks.0.feed_forward.up.weight 32x8", "blocks.0.feed_forward.up.bias 32",
                  "blocks.0.feed_forward.down.weight 8x32", "blocks.0.feed_forward.down.bias 8", "norm.weight 8",
                  "norm.bias 8"));
}

TEST(ModelShapeTest, Gpt2HasItsPublishedCount) {
  const v1::TrainingSpec training =
      Resolved("model { gpt { layers: 12 d_model: 768 heads: 12 context: 1024 vocabulary: 50257 } }");
  EXPECT_EQ(ParameterCount(ModelParameters(training.model(), {})), 124'439'808);
}

TEST(ModelShapeTest, PathsAreUniqueAndKindsDecideWeightDecay) {
  const v1::TrainingSpec training = Resolved("model { gpt {} } data { train { synthetic {} } }");
  std::set<std::string> paths;
  for (const Parameter& parameter : ModelParameters(training.model(), *SampleShapeOf(training))) {
    EXPECT_TRUE(paths.insert(parameter.path).second) << parameter.path;
    EXPECT_EQ(IsDecayed(parameter.kind), parameter.shape.size() == 2) << parameter.path;
    EXPECT_EQ(parameter.kind == ParameterKind::kNorm, parameter.path.find("norm") != std::string::npos)
        << parameter.path;
    EXPECT_EQ(parameter.kind == ParameterKind::kEmbedding, parameter.path.find("embedding") != std::string::npos)
        << parameter.path;
  }
}

TEST(ModelShapeTest, TheSampleIsKnownWhereTheSpecSaysItAll) {
  const auto synthetic =
      SampleShapeOf(Resolved("model { mlp {} } data { train { synthetic { shape: [2, 3] classes: 4 } } }"));
  ASSERT_TRUE(synthetic.has_value());
  EXPECT_THAT(synthetic->features, ElementsAre(2, 3));
  EXPECT_EQ(synthetic->classes, 4);
  const auto text = SampleShapeOf(Resolved("model { gpt {} } data { train { text { files: 'a' } } }"));
  ASSERT_TRUE(text.has_value());
  EXPECT_TRUE(text->features.empty());
  EXPECT_EQ(text->classes, 256);
  EXPECT_FALSE(SampleShapeOf(Resolved("data { train { idx { images: 'a' labels: 'b' classes: 10 } } }")).has_value());
}

TEST(ModelShapeTest, SizesSaturateInsteadOfWrappingRound) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ((Parameter{"x", {kMax, 2}, ParameterKind::kWeight}).elements(), kMax);
  EXPECT_EQ(ParameterCount({{"x", {kMax}, ParameterKind::kWeight}, {"y", {1}, ParameterKind::kBias}}), kMax);
}

TEST(ModelShapeTest, AModelOfNoKindHasNoParameters) { EXPECT_TRUE(ModelParameters(v1::Model(), {}).empty()); }

}  // namespace
}  // namespace mantissa::spec
