#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

v1::JobSpec Sequential(const std::string& layers) {
  return SpecFrom(absl::StrCat("training { model { sequential { ", layers,
                               " } } data { train { idx { images: 'a' labels: 'b' } } } }"));
}

v1::JobSpec Model(const std::string& model) {
  return SpecFrom(
      absl::StrCat("training { model { ", model, " } data { train { idx { images: 'a' labels: 'b' } } } }"));
}

TEST(ValidateLayersTest, EveryFieldHasItsRange) {
  // A layer, and its field that is out of range; right when empty.
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"linear { out: 1048576 }", ""},
      {"linear { out: 0 }", "linear.out"},
      {"linear { out: 1048577 }", "linear.out"},
      {"conv2d { out: 65536 kernel: 1024 stride: 1024 padding: 1024 groups: 65536 }", ""},
      {"conv2d {}", "conv2d.out"},
      {"conv2d { out: 65537 }", "conv2d.out"},
      {"conv2d { out: 1 kernel: 0 }", "conv2d.kernel"},
      {"conv1d { out: 1 kernel: 1025 }", "conv1d.kernel"},
      {"conv1d { out: 1 stride: 0 }", "conv1d.stride"},
      {"conv1d { out: 1 padding: -1 }", "conv1d.padding"},
      {"conv1d { out: 1 padding: 1025 }", "conv1d.padding"},
      {"conv1d { out: 1 groups: 0 }", "conv1d.groups"},
      {"batch_norm1d { epsilon: 0 }", "batch_norm1d.epsilon"},
      {"batch_norm2d { momentum: 0 }", "batch_norm2d.momentum"},
      {"batch_norm3d { momentum: nan }", "batch_norm3d.momentum"},
      {"batch_norm3d { momentum: 1 epsilon: 1 }", ""},
      {"layer_norm { epsilon: -1 }", "layer_norm.epsilon"},
      {"rms_norm { epsilon: inf }", "rms_norm.epsilon"},
      {"dropout { probability: 0 }", ""},
      {"dropout { probability: 1 }", "dropout.probability"},
      {"scale { factor: -1e30 }", ""},
      {"scale {}", "scale.factor"},
      {"scale { factor: 1e-31 }", "scale.factor"},
      {"scale { factor: 2e30 }", "scale.factor"},
      {"scale { factor: nan }", "scale.factor"},
      {"max_pool1d { kernel: 0 stride: 1 }", "max_pool1d.kernel"},
      {"max_pool2d { stride: 0 }", "max_pool2d.stride"},
      {"average_pool1d { kernel: 1025 stride: 1 }", "average_pool1d.kernel"},
      {"average_pool2d { stride: 1025 }", "average_pool2d.stride"},
      {"attention { heads: 0 }", "attention.heads"},
      {"attention { heads: 1025 }", "attention.heads"},
  };
  const std::string at = "training.model.sequential.layers[1].";
  for (const auto& [layer, field] : cases) {
    const std::vector<std::string> faults =
        Faults(Sequential(absl::StrCat("layers { relu {} } layers { ", layer, " }")));
    if (field.empty()) {
      EXPECT_THAT(faults, IsEmpty()) << layer;
    } else {
      EXPECT_THAT(faults, ElementsAre(at + field + " OUT_OF_RANGE")) << layer;
    }
  }
}

TEST(ValidateLayersTest, AnEmbeddingHasItsRanges) {
  const auto embedding = [](const std::string& fields) {
    return SpecFrom(absl::StrCat("training { model { sequential { layers { embedding { ", fields,
                                 " } } layers { linear {} } } } data { train { synthetic {} } } }"));
  };
  const std::string at = "training.model.sequential.layers[0].embedding.";
  EXPECT_THAT(Faults(embedding("width: 8 context: 7 vocabulary: 11")), IsEmpty());
  EXPECT_THAT(Faults(embedding("")), ElementsAre(at + "width OUT_OF_RANGE"));
  EXPECT_THAT(Faults(embedding("width: 8 context: 0")), ElementsAre(at + "context OUT_OF_RANGE"));
  EXPECT_THAT(Faults(embedding("width: 8 vocabulary: 16777217")), ElementsAre(at + "vocabulary OUT_OF_RANGE"));
}

TEST(ValidateLayersTest, ALayerNamesWhatItIs) {
  EXPECT_THAT(Faults(Sequential("layers {}")), ElementsAre("training.model.sequential.layers[0] REQUIRED"));
  EXPECT_THAT(Faults(Sequential("")), ElementsAre("training.model.sequential.layers REQUIRED"));
  EXPECT_THAT(Faults(Sequential("layers { residual {} }")),
              ElementsAre("training.model.sequential.layers[0].residual.layers REQUIRED"));
}

TEST(ValidateLayersTest, AllFaultsAreSaidAtOnce) {
  EXPECT_THAT(Faults(Sequential("layers { dropout { probability: 2 } } layers { residual { layers { relu {} } layers { "
                                "conv2d { kernel: 0 } } } }")),
              ElementsAre("training.model.sequential.layers[0].dropout.probability OUT_OF_RANGE",
                          "training.model.sequential.layers[1].residual.layers[1].conv2d.out OUT_OF_RANGE",
                          "training.model.sequential.layers[1].residual.layers[1].conv2d.kernel OUT_OF_RANGE"));
}

TEST(ValidateLayersTest, LayersAreCountedInGroupsToo) {
  std::string most;
  for (int i = 0; i < 511; ++i) most += "layers { residual { layers { relu {} } } } ";
  EXPECT_THAT(Faults(Sequential(most + "layers { relu {} } layers { relu {} }")), IsEmpty());
  EXPECT_THAT(Faults(Sequential(most + "layers { relu {} } layers { relu {} } layers { relu {} }")),
              ElementsAre("training.model.sequential.layers OUT_OF_RANGE"));
}

TEST(ValidateLayersTest, GroupsStandEightDeepAndNoDeeper) {
  const auto nested = [](int depth) {
    std::string layers = "layers { relu {} }";
    for (int i = 0; i < depth; ++i) layers = "layers { residual { " + layers + " } }";
    return Sequential(layers);
  };
  EXPECT_THAT(Faults(nested(8)), IsEmpty());
  const std::vector<std::string> faults = Faults(nested(9));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_THAT(faults[0], testing::EndsWith(".layers OUT_OF_RANGE"));
}

TEST(ValidateLayersTest, Convnet) {
  EXPECT_THAT(Faults(Model("convnet {}")), IsEmpty());
  EXPECT_THAT(Faults(Model("convnet { channels: [65536, 1] convolutions: 16 }")), IsEmpty());
  EXPECT_THAT(Faults(Model("convnet { channels: [8, 0, 65537] }")),
              ElementsAre("training.model.convnet.channels[1] OUT_OF_RANGE",
                          "training.model.convnet.channels[2] OUT_OF_RANGE"));
  std::string stages;
  for (int i = 0; i < 17; ++i) stages += "channels: 8 ";
  EXPECT_THAT(Faults(Model("convnet { " + stages + " }")), ElementsAre("training.model.convnet.channels OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Model("convnet { convolutions: 0 }")),
              ElementsAre("training.model.convnet.convolutions OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Model("convnet { convolutions: 17 }")),
              ElementsAre("training.model.convnet.convolutions OUT_OF_RANGE"));
}

TEST(ValidateLayersTest, Pathological) {
  EXPECT_THAT(Faults(Model("pathological {}")), IsEmpty());
  EXPECT_THAT(Faults(Model("pathological { width: 1 tiny_weight: 0 huge_weight: -1e30 }")), IsEmpty());
  EXPECT_THAT(Faults(Model("pathological { width: 0 }")),
              ElementsAre("training.model.pathological.width OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Model("pathological { tiny_weight: 1e-31 }")),
              ElementsAre("training.model.pathological.tiny_weight OUT_OF_RANGE"));
  EXPECT_THAT(Faults(Model("pathological { huge_weight: inf }")),
              ElementsAre("training.model.pathological.huge_weight OUT_OF_RANGE"));
}

TEST(ValidateLayersTest, DefaultsOfLayers) {
  const v1::JobSpec resolved = ResolveDefaults(SpecFrom(
      "training { model { sequential { layers { embedding { width: 8 } } layers { residual { layers { attention "
      "{} } } } layers { linear {} } } } data { train { tokens { files: 'a' } } } }"));
  const v1::Sequential& layers = resolved.training().model().sequential();
  EXPECT_EQ(layers.layers(0).embedding().vocabulary(), 50257);
  EXPECT_EQ(layers.layers(0).embedding().context(), 128);
  EXPECT_EQ(layers.layers(1).residual().layers(0).attention().heads(), 4);
  EXPECT_TRUE(layers.layers(1).residual().layers(0).attention().causal());
  EXPECT_TRUE(layers.layers(2).linear().bias());
  EXPECT_FALSE(layers.layers(2).linear().has_out());
  const v1::JobSpec images = ResolveDefaults(
      Sequential("layers { conv2d { out: 3 } } layers { max_pool2d { kernel: 3 } } layers { attention {} }"));
  const v1::Sequential& classifier = images.training().model().sequential();
  EXPECT_EQ(classifier.layers(0).conv2d().kernel(), 3);
  EXPECT_TRUE(classifier.layers(0).conv2d().bias());
  EXPECT_EQ(classifier.layers(1).max_pool2d().stride(), 3);
  EXPECT_FALSE(classifier.layers(2).attention().causal());
}

TEST(ValidateLayersTest, Tokens) {
  const auto tokens = [](const std::string& model, const std::string& train, const std::string& eval = "") {
    return SpecFrom(absl::StrCat("training { model { ", model, " } data { train { tokens { ", train, " } }",
                                 eval.empty() ? "" : " eval { tokens { " + eval + " } }", " } }"));
  };
  const std::string at = "training.data.train.tokens.";
  EXPECT_THAT(Faults(tokens("gpt {}", "files: 'a.bin'", "files: 'b.bin'")), IsEmpty());
  EXPECT_THAT(Faults(tokens("gpt {}", "")), ElementsAre(at + "files REQUIRED"));
  EXPECT_THAT(Faults(tokens("gpt {}", "files: '../a'")), ElementsAre(at + "files[0] INVALID_FORMAT"));
  EXPECT_THAT(Faults(tokens("gpt { vocabulary: 300 }", "files: 'a' vocabulary: 1")),
              ElementsAre(at + "vocabulary OUT_OF_RANGE"));
  EXPECT_THAT(Faults(tokens("gpt { vocabulary: 50256 }", "files: 'a'")), ElementsAre("training.data.train CONFLICT"));
  EXPECT_THAT(Faults(tokens("mlp {}", "files: 'a'")), ElementsAre("training.data.train.tokens CONFLICT"));
  EXPECT_THAT(Faults(tokens("gpt {}", "files: 'a'", "files: 'b' vocabulary: 50000")),
              ElementsAre("training.data.eval.tokens.vocabulary CONFLICT"));
}

}  // namespace
}  // namespace mantissa::spec
