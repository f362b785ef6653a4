#include "proto/spec/layer_plan.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kAt[] = "training.model.sequential.layers";

v1::JobSpec Layers(const std::string& layers, const std::string& data) {
  return SpecFrom(absl::StrCat("training { model { sequential { ", layers, " } } data { train { ", data, " } } }"));
}

// On samples of this shape, in 10 classes.
v1::JobSpec LayersOn(const std::string& shape, const std::string& layers) {
  return Layers(layers, absl::StrCat("synthetic { shape: [", shape, "] }"));
}

v1::JobSpec TokenLayers(const std::string& layers) { return Layers(layers, "text { files: 'a' }"); }

constexpr char kHead[] = " layers { linear {} }";
constexpr char kFlatHead[] = " layers { flatten {} } layers { linear {} }";

// `(input) -> (output)` of every layer.
std::vector<std::string> Shapes(const v1::JobSpec& spec) {
  EXPECT_THAT(Faults(spec), IsEmpty()) << spec.ShortDebugString();
  const v1::TrainingSpec training = ResolveDefaults(spec).training();
  std::vector<std::string> lines;
  ForEachLayer(PlanLayers(training.model(), *SampleShapeOf(training)), [&](const LayerPlan& layer) {
    lines.push_back(
        absl::StrCat(layer.path, " ", absl::StrJoin(layer.input, "x"), " ", absl::StrJoin(layer.output, "x")));
  });
  return lines;
}

std::vector<std::string> Tensors(const v1::JobSpec& spec, bool buffers = false) {
  const v1::TrainingSpec training = ResolveDefaults(spec).training();
  const SampleShape sample = *SampleShapeOf(training);
  std::vector<std::string> lines;
  for (const Parameter& tensor :
       buffers ? ModelBuffers(training.model(), sample) : ModelParameters(training.model(), sample)) {
    lines.push_back(absl::StrCat(tensor.path, " ", absl::StrJoin(tensor.shape, "x")));
  }
  return lines;
}

TEST(LayerPlanTest, AnImageGoesThroughConvolutionsNormsAndPools) {
  EXPECT_THAT(
      Shapes(LayersOn("3, 9, 8",
                      "layers { conv2d { out: 6 stride: 2 padding: 1 groups: 3 bias: false } } "
                      "layers { batch_norm2d {} } layers { relu {} } layers { max_pool2d {} } "
                      "layers { average_pool2d { kernel: 2 stride: 1 } } layers { flatten {} } "
                      "layers { dropout {} } layers { linear { out: 10 bias: false } }")),
      ElementsAre("layers.0 3x9x8 6x5x4", "layers.1 6x5x4 6x5x4", "layers.2 6x5x4 6x5x4", "layers.3 6x5x4 6x2x2",
                  "layers.4 6x2x2 6x1x1", "layers.5 6x1x1 6", "layers.6 6 6", "layers.7 6 10"));
}

TEST(LayerPlanTest, RowsAndColumnsAreAnImageOfOneChannel) {
  EXPECT_THAT(
      Shapes(LayersOn("8, 8", "layers { conv2d { out: 4 } } layers { global_average_pool {} }" + std::string(kHead))),
      ElementsAre("layers.0 8x8 4x6x6", "layers.1 4x6x6 4", "layers.2 4 10"));
  EXPECT_THAT(Shapes(LayersOn("8, 6", "layers { max_pool2d {} }" + std::string(kFlatHead))),
              ElementsAre("layers.0 8x6 1x4x3", "layers.1 1x4x3 12", "layers.2 12 10"));
}

TEST(LayerPlanTest, ASequenceGoesThroughLayersOverTime) {
  EXPECT_THAT(
      Shapes(LayersOn("12, 6",
                      "layers { conv1d { out: 8 kernel: 5 padding: 2 } } layers { batch_norm1d {} } "
                      "layers { max_pool1d {} } layers { average_pool1d { kernel: 3 stride: 1 } } "
                      "layers { attention { heads: 2 } } layers { rms_norm {} } "
                      "layers { linear { out: 5 } } layers { global_average_pool {} }" +
                          std::string(kHead))),
      ElementsAre("layers.0 12x6 12x8", "layers.1 12x8 12x8", "layers.2 12x8 6x8", "layers.3 6x8 4x8",
                  "layers.4 4x8 4x8", "layers.5 4x8 4x8", "layers.6 4x8 4x5", "layers.7 4x5 5", "layers.8 5 10"));
}

TEST(LayerPlanTest, FeaturesAreASequenceOfOneFeatureToAConvolution) {
  EXPECT_THAT(Shapes(LayersOn("16", "layers { conv1d { out: 2 kernel: 4 stride: 4 } }" + std::string(kFlatHead))),
              ElementsAre("layers.0 16 4x2", "layers.1 4x2 8", "layers.2 8 10"));
}

TEST(LayerPlanTest, VolumesAreNormalisedAndFlattened) {
  EXPECT_THAT(Shapes(LayersOn("2, 3, 4, 5",
                              "layers { batch_norm3d {} } layers { scale { factor: -2 } } "
                              "layers { tanh {} } layers { gelu {} }" +
                                  std::string(kFlatHead))),
              ElementsAre("layers.0 2x3x4x5 2x3x4x5", "layers.1 2x3x4x5 2x3x4x5", "layers.2 2x3x4x5 2x3x4x5",
                          "layers.3 2x3x4x5 2x3x4x5", "layers.4 2x3x4x5 120", "layers.5 120 10"));
}

TEST(LayerPlanTest, LayersOfAResidualGroupAreNamedInsideIt) {
  const v1::JobSpec spec = LayersOn("6",
                                    "layers { residual { layers { layer_norm {} } layers { linear { out: 6 } } "
                                    "layers { residual { layers { relu {} } } } } } layers { log_softmax {} }" +
                                        std::string(kHead));
  EXPECT_THAT(Shapes(spec),
              ElementsAre("layers.0.layers.0 6 6", "layers.0.layers.1 6 6", "layers.0.layers.2.layers.0 6 6",
                          "layers.0.layers.2 6 6", "layers.0 6 6", "layers.1 6 6", "layers.2 6 10"));
  EXPECT_THAT(Tensors(spec),
              ElementsAre("layers.0.layers.0.weight 6", "layers.0.layers.0.bias 6", "layers.0.layers.1.weight 6x6",
                          "layers.0.layers.1.bias 6", "layers.2.weight 10x6", "layers.2.bias 10"));
}

TEST(LayerPlanTest, ParametersAndBuffersHaveTheirPyTorchShapes) {
  const v1::JobSpec spec =
      LayersOn("4, 8, 8",
               "layers { conv2d { out: 6 kernel: 5 groups: 2 } } layers { batch_norm2d {} }" + std::string(kFlatHead));
  EXPECT_THAT(Tensors(spec), ElementsAre("layers.0.weight 6x2x5x5", "layers.0.bias 6", "layers.1.weight 6",
                                         "layers.1.bias 6", "layers.3.weight 10x96", "layers.3.bias 10"));
  EXPECT_THAT(Tensors(spec, /*buffers=*/true), ElementsAre("layers.1.running_mean 6", "layers.1.running_var 6"));
  EXPECT_THAT(Tensors(LayersOn("5, 4",
                               "layers { conv1d { out: 3 } } layers { rms_norm {} } layers { attention { heads: "
                               "3 } }" +
                                   std::string(kFlatHead))),
              ElementsAre("layers.0.weight 3x4x3", "layers.0.bias 3", "layers.1.weight 3", "layers.2.qkv.weight 9x3",
                          "layers.2.qkv.bias 9", "layers.2.proj.weight 3x3", "layers.2.proj.bias 3",
                          "layers.4.weight 10x9", "layers.4.bias 10"));
}

TEST(LayerPlanTest, TokensBeginWithAnEmbeddingAndEndInOneNumberAToken) {
  const v1::JobSpec spec =
      TokenLayers("layers { embedding { width: 8 context: 5 positions: true } } layers { attention { heads: 2 } }" +
                  std::string(kHead));
  EXPECT_THAT(Shapes(spec), ElementsAre("layers.0 5 5x8", "layers.1 5x8 5x8", "layers.2 5x8 5x256"));
  EXPECT_THAT(Tensors(spec), ElementsAre("layers.0.weight 256x8", "layers.0.positions 5x8", "layers.1.qkv.weight 24x8",
                                         "layers.1.qkv.bias 24", "layers.1.proj.weight 8x8", "layers.1.proj.bias 8",
                                         "layers.2.weight 256x8", "layers.2.bias 256"));
}

TEST(LayerPlanTest, ConvnetIsStagesAndAHead) {
  const v1::JobSpec spec = SpecFrom(
      "training { model { convnet { channels: [4, 6] convolutions: 2 } } data { train { synthetic { shape: [2, 9, 8] } "
      "} } }");
  EXPECT_THAT(Shapes(spec),
              ElementsAre("stages.0.0.conv 2x9x8 4x9x8", "stages.0.0.norm 4x9x8 4x9x8", "stages.0.0.relu 4x9x8 4x9x8",
                          "stages.0.1.conv 4x9x8 4x9x8", "stages.0.1.norm 4x9x8 4x9x8", "stages.0.1.relu 4x9x8 4x9x8",
                          "stages.0.pool 4x9x8 4x4x4", "stages.1.0.conv 4x4x4 6x4x4", "stages.1.0.norm 6x4x4 6x4x4",
                          "stages.1.0.relu 6x4x4 6x4x4", "stages.1.1.conv 6x4x4 6x4x4", "stages.1.1.norm 6x4x4 6x4x4",
                          "stages.1.1.relu 6x4x4 6x4x4", "stages.1.pool 6x4x4 6x2x2", "pool 6x2x2 6", "head 6 10"));
  const std::vector<std::string> tensors = Tensors(spec);
  ASSERT_EQ(tensors.size(), 4 * 3 + 2u);  // a convolution before batch norm has no bias
  EXPECT_EQ(tensors[0], "stages.0.0.conv.weight 4x2x3x3");
  EXPECT_EQ(tensors.back(), "head.bias 10");
  EXPECT_EQ(Tensors(spec, true).size(), 8u);
}

TEST(LayerPlanTest, ByItselfAConvnetReadsAnImage) {
  EXPECT_THAT(Shapes(SpecFrom("training { model { convnet {} } data { train { synthetic {} } } }")).back(),
              "head 32 10");
}

TEST(LayerPlanTest, PathologicalIsTwoExtremeLayersAndAHead) {
  const v1::JobSpec spec = SpecFrom("training { model { pathological {} } data { train { synthetic {} } } }");
  EXPECT_THAT(Shapes(spec), ElementsAre("flatten 100 100", "tiny 100 100", "tanh1 100 100", "huge 100 100",
                                        "tanh2 100 100", "head 100 10"));
  const v1::TrainingSpec training = ResolveDefaults(spec).training();
  const auto layers = PlanLayers(training.model(), *SampleShapeOf(training));
  EXPECT_EQ(layers[1].initial_weight, 1e-6);
  EXPECT_EQ(layers[3].initial_weight, 1e3);
  EXPECT_FALSE(layers[5].initial_weight.has_value());
}

TEST(LayerPlanTest, OperationsAreMultiplyAdds) {
  const v1::TrainingSpec training =
      ResolveDefaults(LayersOn("2, 8, 8", "layers { conv2d { out: 4 groups: 2 } }" + std::string(kFlatHead)))
          .training();
  const auto layers = PlanLayers(training.model(), *SampleShapeOf(training));
  EXPECT_EQ(layers[0].operations, 4 * 6 * 6 * (1 * 3 * 3));
  EXPECT_EQ(layers[1].operations, 0);
  EXPECT_EQ(layers[2].operations, 4 * 6 * 6 * 10);
}

// A fault of shapes is said at the first layer that does not fit, by the field that is to be changed.
TEST(LayerPlanTest, AKernelLargerThanItsInputIsRefusedWithTheLargestThatFits) {
  const v1::JobSpec spec =
      LayersOn("4, 9", "layers { relu {} } layers { conv2d { out: 2 kernel: 7 padding: 1 } }" + std::string(kFlatHead));
  EXPECT_THAT(Faults(spec), ElementsAre(absl::StrCat(kAt, "[1].conv2d.kernel CONFLICT")));
  EXPECT_THAT(ValidateJobSpec(spec)[0].description, HasSubstr("at most 6 is allowed"));
  EXPECT_THAT(Faults(LayersOn("9, 4", "layers { max_pool2d { kernel: 5 } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].max_pool2d.kernel CONFLICT")));
  EXPECT_THAT(Faults(LayersOn("4", "layers { conv1d { out: 2 kernel: 5 } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].conv1d.kernel CONFLICT")));
  EXPECT_THAT(Faults(LayersOn("1, 4", "layers { average_pool1d {} }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].average_pool1d.kernel CONFLICT")));
}

TEST(LayerPlanTest, ALayerThatCannotReadItsInputIsRefused) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"64", "conv2d { out: 2 }"},      {"2, 2, 4, 4", "conv2d { out: 2 }"},
      {"3, 8, 8", "conv1d { out: 2 }"}, {"3, 8, 8", "linear { out: 2 }"},
      {"3, 8, 8", "batch_norm1d {}"},   {"8, 8", "batch_norm2d {}"},
      {"3, 8, 8", "batch_norm3d {}"},   {"3, 8, 8", "layer_norm {}"},
      {"3, 8, 8", "rms_norm {}"},       {"3, 8, 8", "log_softmax {}"},
      {"64", "max_pool1d {}"},          {"64", "average_pool2d {}"},
      {"64", "global_average_pool {}"}, {"64", "attention {}"},
      {"3, 8, 8", "attention {}"}};
  for (const auto& [shape, layer] : wrong) {
    const std::string kind = layer.substr(0, layer.find(' '));
    EXPECT_THAT(Faults(LayersOn(shape, absl::StrCat("layers { ", layer, " }", kFlatHead))),
                ElementsAre(absl::StrCat(kAt, "[0].", kind, " CONFLICT")))
        << shape << " " << layer;
  }
}

TEST(LayerPlanTest, GroupsAndHeadsDivideWhatTheyAreGiven) {
  EXPECT_THAT(Faults(LayersOn("4, 8, 8", "layers { conv2d { out: 4 groups: 3 } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].conv2d.groups CONFLICT")));
  EXPECT_THAT(Faults(LayersOn("4, 8, 8", "layers { conv2d { out: 3 groups: 2 } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].conv2d.groups CONFLICT")));
  EXPECT_THAT(Faults(LayersOn("4, 6", "layers { attention { heads: 4 } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].attention.heads CONFLICT")));
}

TEST(LayerPlanTest, AResidualGroupGivesTheShapeThatItReads) {
  const v1::JobSpec wider = LayersOn("6", "layers { residual { layers { linear { out: 7 } } } }" + std::string(kHead));
  EXPECT_THAT(Faults(wider), ElementsAre(absl::StrCat(kAt, "[0].residual CONFLICT")));
  EXPECT_THAT(ValidateJobSpec(wider)[0].description, HasSubstr("(6) and its layers give (7)"));
  // Rows and columns come out as an image of one channel.
  EXPECT_THAT(Faults(LayersOn(
                  "8, 8", "layers { residual { layers { conv2d { out: 1 padding: 1 } } } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].residual CONFLICT")));
  EXPECT_THAT(Faults(LayersOn(
                  "6", "layers { residual { layers { relu {} } layers { conv2d { out: 1 } } } }" + std::string(kHead))),
              ElementsAre(absl::StrCat(kAt, "[0].residual.layers[1].conv2d CONFLICT")));
}

TEST(LayerPlanTest, TheLastLayerGivesOneNumberAClass) {
  const v1::JobSpec spec = LayersOn("8", "layers { linear { out: 9 } }");
  EXPECT_THAT(Faults(spec), ElementsAre(absl::StrCat(kAt, " CONFLICT")));
  EXPECT_THAT(ValidateJobSpec(spec)[0].description, HasSubstr("give (9), but the loss reads (10)"));
  EXPECT_THAT(Faults(LayersOn("8, 8", "layers { linear { out: 10 } }")), ElementsAre(absl::StrCat(kAt, " CONFLICT")));
  EXPECT_THAT(Faults(LayersOn("10", "layers { relu {} }")), IsEmpty());
}

TEST(LayerPlanTest, TokensAreReadByAnEmbeddingThatStandsFirst) {
  EXPECT_THAT(Faults(TokenLayers("layers { linear {} }")), ElementsAre("training.data.train.text CONFLICT"));
  EXPECT_THAT(Faults(LayersOn("8", "layers { relu {} } layers { embedding { width: 8 } }" + std::string(kHead))),
              ElementsAre(absl::StrCat(kAt, "[1].embedding CONFLICT")));
  EXPECT_THAT(
      Faults(Layers("layers { embedding { width: 8 } }" + std::string(kHead), "idx { images: 'a' labels: 'b' }")),
      ElementsAre("training.data.train.idx CONFLICT"));
  EXPECT_THAT(Faults(LayersOn("8", "layers { embedding { width: 8 } }" + std::string(kHead))),
              ElementsAre("training.data.train.synthetic.shape CONFLICT"));
  EXPECT_THAT(Faults(TokenLayers("layers { embedding { width: 8 vocabulary: 255 } }" + std::string(kHead))),
              ElementsAre("training.data.train CONFLICT"));
  // Every position needs its logits.
  EXPECT_THAT(Faults(TokenLayers("layers { embedding { width: 8 } } layers { max_pool1d {} }" + std::string(kHead))),
              ElementsAre(absl::StrCat(kAt, " CONFLICT")));
}

TEST(LayerPlanTest, AConvnetNeedsImagesLargeEnoughForItsStages) {
  const auto convnet = [](const std::string& channels, const std::string& shape) {
    return SpecFrom(absl::StrCat("training { model { convnet { channels: [", channels,
                                 "] } } data { train { synthetic { shape: [", shape, "] } } } }"));
  };
  EXPECT_THAT(Faults(convnet("4, 4, 4", "8, 9")), IsEmpty());
  EXPECT_THAT(Faults(convnet("4, 4, 4, 4", "8, 16")), ElementsAre("training.model.convnet.channels CONFLICT"));
  EXPECT_THAT(ValidateJobSpec(convnet("4, 4, 4, 4", "16, 8"))[0].description, HasSubstr("allow 3"));
  EXPECT_THAT(Faults(convnet("4", "64")), ElementsAre("training.model.convnet CONFLICT"));
}

TEST(LayerPlanTest, SizesThatLeaveEveryMeasureAreRefusedAndNeverWrapRound) {
  // 65536 channels of 1024 x 1024 places.
  EXPECT_THAT(Faults(LayersOn("1024, 1024", "layers { conv2d { out: 65536 padding: 1 } }" + std::string(kFlatHead))),
              ElementsAre(absl::StrCat(kAt, "[0].conv2d OUT_OF_RANGE")));
  std::string wide;
  for (int i = 0; i < 20; ++i) wide += "layers { linear { out: 1048576 } } ";
  EXPECT_THAT(Faults(LayersOn("8", wide + kHead)), ElementsAre("training.model OUT_OF_RANGE"));
}

TEST(LayerPlanTest, BatchNormOverSingleSamplesIsRefused) {
  const auto spec = [](const std::string& layers, const std::string& more) {
    v1::JobSpec made = LayersOn("8, 4", layers + kFlatHead);
    EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString("training { " + more + " }", &made));
    return made;
  };
  const std::string flat = "layers { flatten {} } layers { batch_norm1d {} }";
  EXPECT_THAT(Faults(spec(flat, "batch_size: 4 accumulation: 4")), ElementsAre("training.model CONFLICT"));
  EXPECT_THAT(Faults(spec(flat, "batch_size: 4 accumulation: 3")), IsEmpty());
  // Over time there are several values even then.
  EXPECT_THAT(Faults(spec("layers { batch_norm1d {} }", "batch_size: 4 accumulation: 4")), IsEmpty());
}

TEST(LayerPlanTest, WhatOnlyTheFilesTellIsCheckedOnceTheyAreRead) {
  const v1::JobSpec spec =
      Layers("layers { conv2d { out: 2 kernel: 9 } }" + std::string(kFlatHead), "idx { images: 'a' labels: 'b' }");
  EXPECT_THAT(Faults(spec), IsEmpty());
  const v1::TrainingSpec training = ResolveDefaults(spec).training();
  EXPECT_THAT(ValidateModelFits(training, {.features = {9, 9}, .classes = 4}), IsEmpty());
  const std::vector<Violation> faults = ValidateModelFits(training, {.features = {8, 9}, .classes = 4});
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].field_path, absl::StrCat(kAt, "[0].conv2d.kernel"));
}

}  // namespace
}  // namespace mantissa::spec
