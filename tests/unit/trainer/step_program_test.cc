#include "worker/trainer/step_program.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/small_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Plain SGD without clipping, so that the change of the parameters is the gradient.
constexpr char kPlain[] = "optimizer { sgd { learning_rate: 0.5 momentum: 0 } } max_grad_norm: 0 ";

// What a window's samples say by the book: the mean loss over them, and its gradients.
struct Reference {
  double loss = 0;
  at::Tensor weight_gradient;
  at::Tensor bias_gradient;
};

Reference HeadReference(SmallRun& run, std::int64_t window) {
  std::vector<std::int64_t> samples, all;
  for (std::int64_t m = 0; m < run.plan().MicroBatches(window); ++m) {
    run.plan().MicroBatch(window, m, samples);
    all.insert(all.end(), samples.begin(), samples.end());
  }
  Batch batch;
  run.data().Gather(all, batch);
  const ParameterBuffer& parameters = run.state().model().parameters();
  const at::Tensor weight = parameters.at("head.weight").detach().clone().requires_grad_(true);
  const at::Tensor bias = parameters.at("head.bias").detach().clone().requires_grad_(true);
  const at::Tensor loss = at::cross_entropy_loss(at::linear(batch.input, weight, bias), batch.target);
  loss.backward();
  return {loss.item<double>(), weight.grad(), bias.grad()};
}

// Sums of a few dozen FP32 products in another order: some ulp of values near 1.
::testing::AssertionResult Near(const at::Tensor& actual, const at::Tensor& expected) {
  if (at::allclose(actual, expected, /*rtol=*/1e-5, /*atol=*/1e-6)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "off by " << (actual - expected).abs().max().item<double>();
}

TEST(StepProgramTest, AWholeWindowMakesTheStepOfItsMeanLoss) {
  SmallRun run(kPlain);
  const Reference expected = HeadReference(run, 0);
  const at::Tensor before = run.state().model().parameters().at("head.weight").detach().clone();
  run.TrainTo(1);
  const StepState step = run.state().step_state();
  EXPECT_NEAR(step.loss, expected.loss, 1e-6);  // one FP32 sum
  EXPECT_EQ(step.iteration, 1);
  EXPECT_EQ(step.step, 1);
  const at::Tensor& after = run.state().model().parameters().at("head.weight");
  EXPECT_TRUE(Near(before - after.detach(), expected.weight_gradient * 0.5));
}

TEST(StepProgramTest, MicroBatchesOfUnequalSizeMakeTheStepOfOneLargeBatch) {
  // 10 samples as 3, 3, 3 and 1: a mean of means would weigh the last one three times.
  SmallRun run(std::string(kPlain) + "batch_size: 10 accumulation: 4");
  ASSERT_EQ(run.plan().MicroBatches(0), 4);
  const Reference expected = HeadReference(run, 0);
  run.TrainTo(1);
  EXPECT_NEAR(run.state().step_state().loss, expected.loss, 1e-6);  // FP32 sums, added in double
  EXPECT_TRUE(Near(run.state().model().parameters().at("head.weight").grad(), expected.weight_gradient));
  EXPECT_TRUE(Near(run.state().model().parameters().at("head.bias").grad(), expected.bias_gradient));
}

TEST(StepProgramTest, AShortLastWindowIsDividedByItsOwnTargets) {
  SmallRun run(std::string(kPlain) + "data { train { synthetic { samples: 14 } } } batch_size: 10 accumulation: 4");
  ASSERT_EQ(run.plan().WindowSize(1), 4);
  run.TrainTo(1);
  const Reference expected = HeadReference(run, 1);
  run.TrainTo(2);
  EXPECT_NEAR(run.state().step_state().loss, expected.loss, 1e-6);  // as above
  EXPECT_TRUE(Near(run.state().model().parameters().at("head.weight").grad(), expected.weight_gradient));
  EXPECT_EQ(run.program().SamplesIn(0), 10);
  EXPECT_EQ(run.program().SamplesIn(1), 4);
}

TEST(StepProgramTest, AccumulationIsOneLargeBatchInEveryPrecision) {
  for (const auto& [mode, tolerance] :
       std::vector<std::pair<std::string, double>>{{"FP32", 1e-5},     // sums in another order
                                                   {"BF16", 4e-2},     // each micro-batch rounds its products to 8 bits
                                                   {"FP16", 5e-3}}) {  // to 11 bits
    const std::string changes =
        std::string(kPlain) + "model { mlp { hidden: 8 } } precision { mode: " + mode + " } batch_size: 16 ";
    SmallRun whole(changes);
    SmallRun cut(changes + "accumulation: 4");
    whole.TrainTo(1);
    cut.TrainTo(1);
    const at::Tensor expected = whole.state().model().parameters().values();
    EXPECT_TRUE(at::allclose(cut.state().model().parameters().values(), expected, tolerance, tolerance)) << mode;
    EXPECT_NEAR(cut.state().step_state().loss, whole.state().step_state().loss, tolerance) << mode;
    EXPECT_EQ(cut.state().step_state().step, 1) << mode;
  }
}

TEST(StepProgramTest, GradientsOfTheLastWindowAreForgotten) {
  SmallRun run(kPlain);
  run.TrainTo(1);
  const Reference expected = HeadReference(run, 1);
  run.TrainTo(2);
  EXPECT_TRUE(Near(run.state().model().parameters().at("head.weight").grad(), expected.weight_gradient));
}

TEST(StepProgramTest, ALanguageModelsLossIsAMeanOverTokens) {
  SmallRun run(
      "model { gpt { layers: 1 d_model: 8 heads: 1 context: 5 } } "
      "data { train { synthetic { samples: 6 classes: 7 } } } batch_size: 4 optimizer { sgd { learning_rate: 0.1 } }");
  run.TrainTo(1);
  // A model that knows nothing is wrong by ln 7 a token; a sum over a sequence would be five times that.
  EXPECT_NEAR(run.state().step_state().loss, std::log(7.0), 0.5);
}

TEST(StepProgramTest, AStopBetweenMicroBatchesChangesNothingButGradients) {
  for (const int question : {1, 2, 4}) {
    SmallRun run("model { mlp { hidden: 8 dropout: 0.5 } } accumulation: 4");
    run.TrainTo(3);
    const auto before = BitsOf(run.state());
    const StepState step_before = run.state().step_state();
    FakeControl control(question);
    EXPECT_FALSE(run.program().Run(3, control));
    EXPECT_EQ(control.questions(), question);  // and not one micro-batch more
    EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
    const StepState step_after = run.state().step_state();
    EXPECT_EQ(std::memcmp(&step_before, &step_after, sizeof(StepState)), 0);
    // The window that was given up is trained as if nothing had been.
    SmallRun undisturbed("model { mlp { hidden: 8 dropout: 0.5 } } accumulation: 4");
    undisturbed.TrainTo(4);
    run.TrainTo(4);
    EXPECT_THAT(Differences(BitsOf(run.state()), BitsOf(undisturbed.state())), IsEmpty());
  }
}

TEST(StepProgramTest, TheControlIsAskedBeforeEachMicroBatch) {
  SmallRun run("accumulation: 4");
  FakeControl control;
  EXPECT_TRUE(run.program().Run(0, control));
  EXPECT_EQ(control.questions(), 4);
}

TEST(StepProgramTest, ASkippedIterationLeavesParametersMomentsAndStepBitIdentical) {
  for (const std::string optimizer : {"adamw {}", "adam { weight_decay: 0.1 }", "sgd { momentum: 0.9 }"}) {
    // FP16 gradients of a loss times 2^30 are Inf.
    SmallRun run(
        "model { mlp { hidden: 8 } } optimizer {" + optimizer + "} precision { mode: FP16 loss_scale { init: 64 } }",
        OneClassData());
    run.TrainTo(3);
    auto before = BitsOf(run.state());
    StepState step = run.state().step_state();
    step.loss_scale = 0x1p30f;
    run.state().iteration_state().WriteState(step);
    run.TrainTo(4);
    EXPECT_EQ(run.state().step_state().cause, static_cast<std::int32_t>(SkipCause::kOverflow));
    EXPECT_EQ(run.state().step_state().step, 3);
    EXPECT_EQ(run.state().step_state().iteration, 4);
    EXPECT_EQ(run.state().step_state().loss_scale, 0x1p29f);
    EXPECT_THAT(Differences(BitsOf(run.state()), before), ElementsAre("counters", "scaler")) << optimizer;
    // And the next one that is finite does change them.
    step = run.state().step_state();
    step.loss_scale = 64;
    run.state().iteration_state().WriteState(step);
    before = BitsOf(run.state());
    run.TrainTo(5);
    EXPECT_EQ(run.state().step_state().step, 4);
    EXPECT_THAT(Differences(BitsOf(run.state()), before), ::testing::Contains("head.weight")) << optimizer;
  }
}

TEST(StepProgramTest, DropoutDependsOnTheIterationAndNotOnWhatWasDrawnBefore) {
  const std::string changes = "model { mlp { hidden: 32 dropout: 0.5 } } batch_size: 32 accumulation: 2 ";
  // With a learning rate of 0 and samples that are all alike, two iterations differ in nothing but their dropout.
  const std::string still = changes + "optimizer { sgd { learning_rate: 0 momentum: 0 } }";
  SmallRun walked(still, OneClassData()), jumped(still, OneClassData());
  walked.TrainTo(6);
  FakeControl control;
  ASSERT_TRUE(jumped.program().Run(5, control));
  EXPECT_EQ(BytesIn(jumped.state().model().parameters().gradients()),
            BytesIn(walked.state().model().parameters().gradients()));
  ASSERT_TRUE(jumped.program().Run(6, control));
  EXPECT_NE(BytesIn(jumped.state().model().parameters().gradients()),
            BytesIn(walked.state().model().parameters().gradients()));
}

TEST(StepProgramTest, ASeedDecidesTheDropout) {
  const std::string still =
      "model { mlp { hidden: 32 dropout: 0.5 } } batch_size: 32 optimizer { sgd { learning_rate: 0 momentum: 0 } } ";
  const auto first_loss = [&](const std::string& seed) {
    // Data order, initial parameters and dropout all follow from the seed: the data is constant and the parameters are
    // set alike, so that only dropout can tell two seeds apart.
    SmallRun run(still + "seed: " + seed, ConstantData(1));
    run.state().model().parameters().values().fill_(0.25);
    run.TrainTo(1);
    return run.state().step_state().grad_norm;
  };
  EXPECT_EQ(first_loss("1"), first_loss("1"));
  EXPECT_NE(first_loss("1"), first_loss("2"));
}

TEST(StepProgramTest, MicroBatchesDrawDifferentDropout) {
  // The same constant samples in both micro-batches: with equal draws the window's gradient would be that of one.
  const std::string base =
      "model { mlp { hidden: 32 dropout: 0.5 } } max_grad_norm: 0 optimizer { sgd { learning_rate: 0 momentum: 0 } } ";
  const auto gradients = [&](const std::string& cut) {
    SmallRun run(base + cut, std::make_unique<FeatureDataset>(at::ones({8, 6}), at::zeros({8}, at::kLong), 3));
    run.TrainTo(1);
    return run.state().model().parameters().gradients().clone();
  };
  EXPECT_FALSE(at::allclose(gradients("batch_size: 8 accumulation: 2"), gradients("batch_size: 4 accumulation: 1")));
}

TEST(StepProgramTest, AnIterationTrainsOnTheWindowThatIsLeft) {
  // Dropout, so that its draws are those of the window, too.
  const std::string changes = "model { mlp { hidden: 4 dropout: 0.5 } } data { train { synthetic { samples: 14 } } }";
  SmallRun all(changes);
  SmallRun some(changes);
  v1::Lineage lineage;
  lineage.add_skipped_windows()->set_last(0);
  StepProgram without_first(
      some.state(),
      {some.data(), BatchPlan({.samples = 14, .batch_size = 8, .seed = some.training().seed(), .lineage = lineage}),
       some.policy(), some.training().seed()});
  FakeControl control;
  ASSERT_TRUE(all.program().Run(1, control));
  ASSERT_TRUE(without_first.Run(0, control));
  EXPECT_THAT(Differences(BitsOf(some.state()), BitsOf(all.state())), ::testing::IsEmpty());
  EXPECT_EQ(without_first.SamplesIn(0), 6);
  EXPECT_EQ(without_first.SamplesIn(1), 8);
}

TEST(StepProgramTest, TheNextWindowWithNothingFromTheHostIsTheSameToTheLastBit) {
  // 32 samples in windows of 7, the last of four; micro-batches of 3, 3 and 1, or 3 and 1.
  for (const std::string& model : {std::string("mlp { hidden: 5 dropout: 0.5 }"),
                                   std::string("gpt { layers: 1 d_model: 8 heads: 2 context: 4 dropout: 0.25 }")}) {
    const std::string data = model.starts_with("gpt") ? "data { train { synthetic { samples: 32 classes: 5 } } } " : "";
    const std::string changes = data + "batch_size: 7 accumulation: 3 precision { mode: FP16 } model { " + model + " }";
    SmallRun told(changes);
    SmallRun by_itself(changes);
    told.TrainTo(12);
    for (std::int64_t i = 0; i < 12; ++i) by_itself.program().RunNext(by_itself.program().SamplesIn(i));
    EXPECT_THAT(Differences(BitsOf(by_itself.state()), BitsOf(told.state())), IsEmpty()) << model;
    const StepState expected = told.state().step_state();
    const StepState step = by_itself.state().step_state();
    EXPECT_EQ(std::memcmp(&step, &expected, sizeof(step)), 0) << model;
  }
}

TEST(StepProgramTest, AHaltedRunIsLeftAsItIsByAWindowOfAnySize) {
  SmallRun run("batch_size: 7 model { mlp { hidden: 5 } }");
  run.TrainTo(4);  // the next is the short one
  StepState halted = run.state().step_state();
  halted.halt = static_cast<std::int32_t>(Halt::kRehearsal);
  run.state().iteration_state().WriteState(halted);
  const auto before = BitsOf(run.state());
  for (const std::int64_t size : {7, 4, 1}) run.program().RunNext(size);
  EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
}

}  // namespace
}  // namespace mantissa::trainer
