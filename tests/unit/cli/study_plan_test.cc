// Which studies are made of a training, and that each of them is a good job.
#include "client/cli/advise/study_plan.h"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/advise/model_products.h"
#include "proto/spec/validate.h"
#include "tests/unit/cli/advised_job.h"

namespace mantissa::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using Kind = v1::StudySpec::KindCase;
using Failures = v1::FailureModes;

std::map<Kind, v1::JobSpec> PlanOf(const v1::JobSpec& job, std::int32_t iterations = 100) {
  std::map<Kind, v1::JobSpec> plan;
  for (const v1::JobSpec& spec : PlanStudies(job, {.iterations = iterations, .seeds = 2, .advice_id = "one"})) {
    for (const spec::Violation& violation : spec::ValidateJobSpec(spec)) {
      ADD_FAILURE() << spec.name() << ": " << violation.field_path << " " << violation.description;
    }
    plan[spec.study().kind_case()] = spec;
  }
  return plan;
}

std::vector<int> FailuresOf(const v1::JobSpec& job) {
  const auto modes = PlanOf(job).at(Kind::kFailureModes).study().failure_modes().modes();
  return {modes.begin(), modes.end()};
}

TEST(StudyPlanTest, StudiesAreShortJobsOfTheSameDevicesTiedByALabel) {
  v1::JobSpec job = AdvisedJob("iterations: 5000 batch_size: 32");
  job.set_priority(7);
  job.mutable_resources()->set_device(v1::ResourceSpec::CUDA);
  (*job.mutable_labels())["team"] = "nlp";
  const auto plan = PlanOf(job);
  EXPECT_EQ(plan.size(), 6u);
  for (const auto& [kind, spec] : plan) {
    EXPECT_EQ(spec.labels().at("advice"), "one");
    EXPECT_EQ(spec.labels().at("team"), "nlp");
    EXPECT_EQ(spec.priority(), 7);
    EXPECT_EQ(spec.resources().device(), v1::ResourceSpec::CUDA);
  }
  const v1::PrecisionComparison& comparison = plan.at(Kind::kPrecisionComparison).study().precision_comparison();
  EXPECT_EQ(plan.at(Kind::kPrecisionComparison).name(), "wide-precision_comparison");
  EXPECT_EQ(comparison.training().iterations(), 100);
  EXPECT_EQ(comparison.training().batch_size(), 32);
  EXPECT_EQ(comparison.seeds(), 2);
}

TEST(StudyPlanTest, ATrainingThatIsShorterStaysAsShort) {
  const auto plan = PlanOf(AdvisedJob("iterations: 3"));
  const v1::PrecisionComparison& comparison = plan.at(Kind::kPrecisionComparison).study().precision_comparison();
  EXPECT_EQ(comparison.training().iterations(), 3);
  EXPECT_LT(comparison.warm_up_iterations(), 3);
}

// What a study does not read is refused where it is given; a warm-up must be shorter than the run.
TEST(StudyPlanTest, WhateverTheTrainingSaysItsStudiesAreGood) {
  const auto plan = PlanOf(AdvisedJob(
      "precision { mode: FP16 loss_scale { preset: MEGATRON } on_failure: FALLBACK fallback: BF16 max_rollbacks: 2 "
      "  loss_spike { action: ADVISE } statistics_window: 10 } "
      "schedule { cosine { warmup_steps: 2000 } } epochs: 300 checkpoint { every_steps: 5 } micro_batch: AUTO "
      "evaluation { every_steps: 5 } telemetry { every_iterations: 3 } execution { mode: GRAPH }"));
  EXPECT_EQ(plan.at(Kind::kScalerStudy).study().scaler_study().training().schedule().cosine().warmup_steps(), 25);
}

TEST(StudyPlanTest, NamesAndLabelsKeepTheirBounds) {
  v1::JobSpec job = AdvisedJob("");
  job.set_name(std::string(63, 'a'));
  for (int i = 0; i < 64; ++i) (*job.mutable_labels())["l" + std::to_string(i)] = "x";
  EXPECT_EQ(PlanOf(job).at(Kind::kMemoryPlan).labels_size(), 1) << "there is no room for the job's own";
}

TEST(StudyPlanTest, OnlyFailuresThatTheModelCouldHaveAreTried) {
  EXPECT_THAT(FailuresOf(AdvisedJob("optimizer { sgd {} }")),
              ElementsAre(Failures::LARGE_REDUCTION, Failures::LOST_UPDATES));
  EXPECT_THAT(FailuresOf(AdvisedJob("")), Contains(Failures::SMALL_EPSILON));
  const auto gpt = FailuresOf(AdvisedJob("model { gpt {} } data { train { synthetic { classes: 100 } } }"));
  EXPECT_THAT(gpt, Contains(Failures::SOFTMAX_OVERFLOW));
  EXPECT_THAT(gpt, Contains(Failures::EMBEDDING_GRADIENTS));
  EXPECT_THAT(gpt, Not(Contains(Failures::PATHOLOGICAL_MODEL)));
  EXPECT_THAT(FailuresOf(AdvisedJob("model { pathological {} }")), Contains(Failures::PATHOLOGICAL_MODEL));
  const std::string layers =
      "model { sequential { layers { residual { layers { attention { heads: 2 } } } } "
      "layers { flatten {} } layers { linear {} } } } data { train { synthetic { shape: [4, 8] } } }";
  EXPECT_THAT(FailuresOf(AdvisedJob(layers)), Contains(Failures::SOFTMAX_OVERFLOW));
}

TEST(StudyPlanTest, WhatIsInDataFilesHasNoProductsToTime) {
  const auto plan = PlanOf(AdvisedJob("data { train { idx { images: 'a.idx' labels: 'b.idx' } } }"));
  EXPECT_FALSE(plan.contains(Kind::kTensorCore));
  EXPECT_EQ(plan.size(), 5u);
}

std::vector<std::string> ProductTexts(const v1::JobSpec& job) {
  std::vector<std::string> texts;
  for (const ModelProduct& product : ProductsOf(job.training())) {
    texts.push_back(product.path + " " + std::to_string(product.shape.m()) + "x" + std::to_string(product.shape.n()) +
                    "x" + std::to_string(product.shape.k()));
  }
  return texts;
}

TEST(ModelProductsTest, RowsAreThePlacesOfAMicroBatch) {
  EXPECT_THAT(ProductTexts(AdvisedJob("batch_size: 30 accumulation: 4")),
              ElementsAre("layers.0.weight 8x1001x64", "head.weight 8x10x1001"));
  const auto encoder =
      ProductTexts(AdvisedJob("model { transformer_encoder { d_model: 32 heads: 2 d_feed_forward: 48 } } "
                              "data { train { synthetic { shape: [5, 16] } } } batch_size: 2"));
  EXPECT_THAT(encoder, Contains("head.weight 2x10x32")) << "after the mean over time";
  EXPECT_THAT(encoder, Contains(::testing::HasSubstr(" 10x48x32"))) << "two samples of five places";
  const auto gpt =
      ProductTexts(AdvisedJob("model { gpt { d_model: 32 heads: 2 context: 16 vocabulary: 101 } } "
                              "data { train { synthetic { classes: 100 } } } batch_size: 2"));
  EXPECT_THAT(gpt, Contains("token_embedding.weight 32x101x32")) << "it is the head, too";
  EXPECT_THAT(
      ProductTexts(AdvisedJob("model { sequential { layers { linear { out: 20 } } layers { global_average_pool {} } "
                              "layers { linear {} } } } data { train { synthetic { shape: [3, 6] } } } batch_size: 4")),
      ElementsAre("layers.0.weight 12x20x6", "layers.2.weight 4x10x20"));
  EXPECT_THAT(ProductTexts(AdvisedJob("model { convnet {} } data { train { synthetic { shape: [1, 8, 8] } } }")),
              Not(IsEmpty()));
}

TEST(ModelProductsTest, WhatAStudyDoesNotTakeIsLeftOutOrCut) {
  EXPECT_THAT(
      ProductTexts(AdvisedJob(
          "model { mlp { hidden: [70000, 16] } } batch_size: 70000 data { train { synthetic { samples: 100000 } } }")),
      ElementsAre("head.weight 65536x10x16"));
  std::string hidden;
  for (int i = 1; i <= 30; ++i) hidden += " hidden: " + std::to_string(8 * i);
  EXPECT_EQ(ProductTexts(AdvisedJob("model { mlp {" + hidden + " } }")).size(), 12u);
}

TEST(ModelProductsTest, AWidthIsFoundInTheSpecUnlessItIsTheDatas) {
  const v1::JobSpec job = AdvisedJob("model { mlp { hidden: [64, 1001] } }");
  EXPECT_EQ(FieldOfWidth(job.training(), 1001), "training.model.mlp.hidden[1]");
  EXPECT_EQ(FieldOfWidth(job.training(), 10), "");
  EXPECT_EQ(
      FieldOfWidth(
          AdvisedJob("model { gpt { heads: 7 d_model: 21 } } data { train { synthetic { classes: 50 } } }").training(),
          7),
      "")
      << "heads are no width";
  EXPECT_EQ(FieldOfWidth(AdvisedJob("model { sequential { layers { linear { out: 20 } } } }").training(), 20),
            "training.model.sequential.layers[0].linear.out");
}

}  // namespace
}  // namespace mantissa::cli
