#include "proto/spec/precision_report.h"

#include "proto/spec/defaults.h"
#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;

PrecisionReport ReportOf(const std::string& training) {
  return DescribePrecision(ResolveDefaults(SpecFrom("training { " + training + " }")).training());
}

std::vector<std::string> Paths(const PrecisionReport& report) {
  std::vector<std::string> paths;
  for (const ModulePrecision& row : report.modules) paths.push_back(row.path);
  return paths;
}

const std::string kMlp = "model { mlp { hidden: [128, 32] } } data { train { synthetic {} } } ";
const std::string kGpt =
    "model { gpt { layers: 3 d_model: 8 heads: 1 context: 4 } } data { train { text { files: 'a' } } } ";

TEST(PrecisionReportTest, LayersThatAreAlikeAreOneRow) {
  const PrecisionReport report = ReportOf(kGpt);
  EXPECT_THAT(Paths(report), ElementsAre("token_embedding", "position_embedding", "blocks.*.norm1",
                                         "blocks.*.attention.qkv", "blocks.*.attention.proj", "blocks.*.norm2",
                                         "blocks.*.feed_forward.up", "blocks.*.feed_forward.down", "norm"));
  const ModulePrecision& qkv = report.modules[3];
  EXPECT_EQ(qkv.modules, 3);
  EXPECT_EQ(qkv.type, ModuleType::kLinear);
  EXPECT_EQ(qkv.parameters, 3 * (24 * 8 + 24));
  EXPECT_EQ(report.modules[8].modules, 1);
}

TEST(PrecisionReportTest, FormatsAndBytesAreThoseOfTheTables) {
  const PrecisionReport report = ReportOf(kGpt + "precision { mode: BF16 }");
  const ModulePrecision& qkv = report.modules[3];
  EXPECT_EQ(qkv.parameter_bytes, 4 * qkv.parameters);
  EXPECT_EQ(qkv.gradient_bytes, 4 * qkv.parameters);
  EXPECT_EQ(qkv.optimizer_bytes, 8 * qkv.parameters);
  EXPECT_EQ(qkv.weight_format, NumberFormat::kBfloat16);
  EXPECT_EQ(qkv.weight_bytes, 2 * 3 * 24 * 8);  // biases are not kept
  EXPECT_EQ(qkv.activation_format, NumberFormat::kBfloat16);
  const ModulePrecision& norm = report.modules[2];
  EXPECT_EQ(norm.weight_format, NumberFormat::kFloat32);
  EXPECT_EQ(norm.weight_bytes, 0);
  EXPECT_EQ(norm.activation_format, NumberFormat::kFloat32);
  // The token table is the head too; the position table is only added.
  EXPECT_EQ(report.modules[0].weight_bytes, 2 * 256 * 8);
  EXPECT_EQ(report.modules[1].weight_bytes, 0);
  EXPECT_EQ(report.modules[0].activation_format, NumberFormat::kFloat32);
}

TEST(PrecisionReportTest, RowsAddUpToTheEstimate) {
  for (const std::string& training :
       {kMlp, kGpt, kGpt + "precision { mode: FP32 } optimizer { sgd { momentum: 0 } }"}) {
    const PrecisionReport report = ReportOf(training);
    ModelBytes sum;
    for (const ModulePrecision& row : report.modules) {
      EXPECT_TRUE(row.sizes_known);
      sum.parameters += row.parameter_bytes;
      sum.gradients += row.gradient_bytes;
      sum.optimizer_state += row.optimizer_bytes;
      sum.casts += row.weight_bytes;
    }
    EXPECT_EQ(sum.parameters, report.bytes.parameters);
    EXPECT_EQ(sum.gradients, report.bytes.gradients);
    EXPECT_EQ(sum.optimizer_state, report.bytes.optimizer_state);
    EXPECT_EQ(sum.casts, report.bytes.casts);
    EXPECT_GT(report.bytes.activations, 0);
  }
}

TEST(PrecisionReportTest, Fp32IsTheSameTrainingWithoutCasts) {
  const PrecisionReport low = ReportOf(kMlp + "precision { mode: FP16 }");
  const PrecisionReport full = ReportOf(kMlp + "precision { mode: FP32 }");
  EXPECT_EQ(low.fp32_bytes.Total(), full.bytes.Total());
  EXPECT_EQ(full.bytes.Total(), full.fp32_bytes.Total());
  EXPECT_GT(low.bytes.casts, 0);
  EXPECT_LT(low.bytes.activations, full.bytes.activations);
}

TEST(PrecisionReportTest, WhatTheFilesDecideIsSaidToBeUnknown) {
  const std::string idx = "data { train { idx { images: 'a' labels: 'b' } } } model { mlp { hidden: [128, 32] } }";
  const PrecisionReport report = ReportOf(idx);
  EXPECT_FALSE(report.sizes_known);
  ASSERT_THAT(Paths(report), ElementsAre("layers.*", "head"));
  EXPECT_FALSE(report.modules[0].sizes_known);                          // the first reads the images
  EXPECT_FALSE(report.modules[1].sizes_known);                          // as many outputs as classes
  EXPECT_EQ(report.modules[0].weight_format, NumberFormat::kBfloat16);  // that much is certain
  EXPECT_EQ(report.bytes.activations, 0);
  const std::string with_classes =
      "data { train { idx { images: 'a' labels: 'b' classes: 10 } } } model { mlp { hidden: [128, 32] } }";
  EXPECT_TRUE(ReportOf(with_classes).modules[1].sizes_known);

  const PrecisionReport encoder =
      ReportOf("data { train { idx { images: 'a' labels: 'b' } } } model { transformer_encoder { d_model: 16 } }");
  EXPECT_EQ(encoder.modules[0].path, "input");  // there may be one
  EXPECT_FALSE(encoder.modules[0].sizes_known);
  EXPECT_TRUE(encoder.modules[1].sizes_known);
  EXPECT_GT(encoder.bytes.parameters, 0);
  EXPECT_EQ(encoder.fp32_bytes.casts, 0);
}

}  // namespace
}  // namespace mantissa::spec
