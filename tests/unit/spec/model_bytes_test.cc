#include <limits>

#include <gtest/gtest.h>

#include "proto/spec/defaults.h"
#include "proto/spec/head_rows.h"
#include "proto/spec/model_shape.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

ModelBytes BytesOf(const std::string& training) {
  const v1::TrainingSpec resolved = ResolveDefaults(SpecFrom("training { " + training + " }")).training();
  return EstimateModelBytes(resolved, *SampleShapeOf(resolved));
}

// 64 x 128 + 128 + 128 x 10 + 10 parameters.
constexpr std::int64_t kCount = 9610;
const std::string kMlp = "model { mlp { hidden: 128 } } data { train { synthetic {} } } ";

TEST(ModelBytesTest, ParametersGradientsAndMomentsAreFp32InEveryMode) {
  for (const char* mode : {"FP32", "FP16", "BF16"}) {
    const ModelBytes bytes = BytesOf(kMlp + "precision { mode: " + mode + " }");
    EXPECT_EQ(bytes.parameters, 4 * kCount);
    EXPECT_EQ(bytes.gradients, 4 * kCount);
    EXPECT_EQ(bytes.optimizer_state, 2 * 4 * kCount);
  }
}

TEST(ModelBytesTest, OptimizersKeepWhatTheyNeed) {
  EXPECT_EQ(BytesOf(kMlp + "optimizer { adam {} }").optimizer_state, 8 * kCount);
  EXPECT_EQ(BytesOf(kMlp + "optimizer { sgd {} }").optimizer_state, 4 * kCount);
  EXPECT_EQ(BytesOf(kMlp + "optimizer { sgd { momentum: 0 } }").optimizer_state, 0);
}

TEST(ModelBytesTest, LowPrecisionKeepsCastsOfTheWeightsThatProductsRead) {
  EXPECT_EQ(BytesOf(kMlp + "precision { mode: FP32 }").casts, 0);
  EXPECT_EQ(BytesOf(kMlp + "precision { mode: BF16 }").casts, 2 * (64 * 128 + 128 * 10));
}

TEST(ModelBytesTest, ThePositionTableIsOnlyAdded) {
  const std::string gpt =
      "data { train { text { files: 'a' } } } model { gpt { layers: 1 d_model: 8 heads: 1 context: ";
  EXPECT_EQ(BytesOf(gpt + "1 } }").casts, BytesOf(gpt + "100 } }").casts);
}

TEST(ModelBytesTest, ActivationsGrowWithTheMicroBatchAlone) {
  const std::int64_t whole = BytesOf(kMlp + "batch_size: 64").activations;
  EXPECT_EQ(BytesOf(kMlp + "batch_size: 128").activations, 2 * whole);
  EXPECT_EQ(BytesOf(kMlp + "batch_size: 128 accumulation: 2").activations, whole);
  EXPECT_EQ(BytesOf(kMlp + "batch_size: 127 accumulation: 2").activations, whole);  // the larger micro-batch has 64
}

TEST(ModelBytesTest, ActivationsOfAnMlpAreCountedOpByOp) {
  // A sample and its label, the input as an operand where that is a cast, the hidden layer's result; at worst the
  // gradients on either side of its activation. The logits stay to the end.
  EXPECT_EQ(BytesOf(kMlp + "batch_size: 1 precision { mode: FP32 }").activations,
            64 * 4 + 8 + 128 * 4 + 2 * 128 * 4 + 10 * 4);
  EXPECT_EQ(BytesOf(kMlp + "batch_size: 1 precision { mode: BF16 }").activations,
            64 * 4 + 8 + 64 * 2 + 128 * 2 + 2 * 128 * 2 + 10 * 2);
}

TEST(ModelBytesTest, GeluKeepsWhatItReadsAsWell) {
  const std::string training = "data { train { synthetic {} } } batch_size: 1 precision { mode: FP32 } model { mlp { ";
  const std::int64_t sample = 64 * 4 + 8, layer = 128 * 4, logits = 10 * 4;
  // A ReLU's result serves both it and the next layer.
  EXPECT_EQ(BytesOf(training + "hidden: [128, 128] } }").activations, sample + 2 * layer + 2 * layer + logits);
  // Worst is the head, before it gives its operand back.
  EXPECT_EQ(BytesOf(training + "hidden: [128, 128] activation: GELU } }").activations,
            sample + 4 * layer + (layer + logits) + logits);
}

TEST(ModelBytesTest, LowerPrecisionAndShorterSequencesTakeLess) {
  for (const std::string model : {"transformer_encoder { dropout: 0.1 } } data { train { synthetic {} } } ",
                                  "gpt { dropout: 0.1 } } data { train { text { files: 'a' } } } "}) {
    const std::string training = "model { " + model;
    EXPECT_LT(BytesOf(training + "precision { mode: BF16 }").activations,
              BytesOf(training + "precision { mode: FP32 }").activations);
  }
  const std::string gpt = "data { train { text { files: 'a' } } } model { gpt { context: ";
  EXPECT_EQ(BytesOf(gpt + "256 } }").activations, 2 * BytesOf(gpt + "128 } }").activations);
}

TEST(ModelBytesTest, OfALargeVocabularysLogitsOnlySomeRowsAreThereAtATime) {
  const std::string gpt =
      "data { train { tokens { files: 'a' } } } precision { mode: BF16 } "
      "model { gpt { layers: 1 d_model: 8 heads: 1 context: 1024 vocabulary: 50304 } } batch_size: ";
  const std::int64_t logits = std::int64_t{64} * 1024 * 50304 * 2;
  const std::int64_t of_64 = BytesOf(gpt + "64").activations;
  EXPECT_GT(of_64, kMostLogitsBytes / 2);
  EXPECT_LT(of_64, logits / 4);
  EXPECT_LT(BytesOf(gpt + "128").activations - of_64, logits / 20) << "of the model alone";
  // Few enough are there at once, and their gradient takes their place.
  const std::int64_t of_8 = BytesOf(gpt + "8").activations;
  EXPECT_GT(of_8, logits / 8);
  EXPECT_LT(of_8, logits / 8 + logits / 40);
}

TEST(ModelBytesTest, WhatDropoutLeavesIsKeptBesideWhatItRead) {
  EXPECT_GT(BytesOf("model { mlp { hidden: 8 dropout: 0.5 } } data { train { synthetic {} } }").activations,
            BytesOf("model { mlp { hidden: 8 } } data { train { synthetic {} } }").activations);
}

// Of 8 x 8 in 10 classes.
const std::string kLayers =
    "data { train { synthetic { shape: [8, 8] } } } batch_size: 1 model { sequential { layers { conv2d { out: 4 } } "
    "layers { batch_norm2d {} } layers { relu {} } layers { max_pool2d {} } layers { flatten {} } layers { linear {} } "
    "} } ";

TEST(ModelBytesTest, RunningStatisticsAreKeptTwice) {
  EXPECT_EQ(BytesOf(kMlp).buffers, 0);
  EXPECT_EQ(BytesOf(kLayers).buffers, 2 * (4 + 4) * 4);
}

TEST(ModelBytesTest, LayersCastTheWeightsThatProductsRead) {
  EXPECT_EQ(BytesOf(kLayers + "precision { mode: BF16 }").casts, 2 * (4 * 9 + 10 * 36));
  // A table of tokens is looked up.
  EXPECT_EQ(
      BytesOf("data { train { text { files: 'a' } } } model { sequential { layers { embedding { width: 8 positions: "
              "true } } layers { linear {} } } }")
          .casts,
      2 * 256 * 8);
}

TEST(ModelBytesTest, ActivationsOfLayersAreCountedLayerByLayer) {
  // A sample and its label, the norm's input and the ReLU's result; at worst the gradients on either side of the ReLU.
  // The logits stay to the end.
  const std::int64_t image = 4 * 6 * 6;
  EXPECT_EQ(BytesOf(kLayers + "precision { mode: FP32 }").activations,
            64 * 4 + 8 + image * 4 + image * 4 + 2 * image * 4 + 10 * 4);
  // The norm is FP32 all the same, and so is the ReLU after it: what is added is a cast of the image.
  EXPECT_EQ(BytesOf(kLayers + "precision { mode: BF16 }").activations,
            64 * 4 + 8 + 64 * 2 + image * 4 + image * 4 + 2 * image * 4 + 10 * 2);
}

TEST(ModelBytesTest, AStreamsGradientWaitsForItsBranch) {
  const auto of = [](const std::string& layers) {
    return BytesOf(
               "data { train { synthetic {} } } batch_size: 1 precision { mode: FP32 } model { sequential { layers { "
               "linear { out: 128 } } " +
               layers + " layers { linear {} } } }")
        .activations;
  };
  const std::string branch = "layers { linear { out: 128 } } layers { relu {} } ";
  // In the ReLU there are its two gradients and the stream's.
  EXPECT_EQ(of("layers { residual { " + branch + " } }"), of(branch) + 128 * 4);
}

TEST(ModelBytesTest, TheTotalIsTheSumAndSaturates) {
  EXPECT_EQ((ModelBytes{1, 2, 3, 4, 5, 6}).Total(), 21);
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ((ModelBytes{kMax, 1, 0, 0, 0}).Total(), kMax);
}

}  // namespace
}  // namespace mantissa::spec
