#include "worker/trainer/evaluate.h"

#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/small_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::IsEmpty;

// Ten samples of three one-hot features; the last two carry a wrong label.
std::unique_ptr<Dataset> OneHotData() {
  const at::Tensor classes = at::arange(10).remainder(3);
  at::Tensor features = at::zeros({10, 3});
  features.scatter_(1, classes.unsqueeze(1), 1.0);
  at::Tensor labels = classes.clone();
  labels.narrow(0, 8, 2).add_(1).remainder_(3);
  return std::make_unique<FeatureDataset>(features, labels, 3);
}

class EvaluateTest : public ::testing::Test {
 protected:
  // The head says: class i is e^2 times as likely as another where feature i is 1.
  EvaluateTest() : run_("", OneHotData()) {
    const ParameterBuffer& parameters = run_.state().model().parameters();
    parameters.at("head.weight").detach().copy_(at::eye(3) * 2);
    parameters.at("head.bias").detach().zero_();
  }

  std::optional<v1::EvaluationResult> Evaluated(const EvaluationOptions& options) {
    return Evaluate(run_.state().model(), run_.data(), run_.policy(), options, control_);
  }

  const double right_ = std::log(std::exp(2.0) + 2) - 2;  // loss of a sample with its label
  const double wrong_ = std::log(std::exp(2.0) + 2);      // and of one with another
  SmallRun run_;
  FakeControl control_;
};

TEST_F(EvaluateTest, LossIsTheMeanOverAllTargetsHoweverTheyAreBatched) {
  for (const std::int64_t batch_size : {1, 4, 10, 64}) {
    const auto result = Evaluated({.batch_size = batch_size});
    ASSERT_TRUE(result.has_value());
    EXPECT_NEAR(result->loss(), (8 * right_ + 2 * wrong_) / 10, 1e-6);  // FP32 sums
    EXPECT_DOUBLE_EQ(result->accuracy(), 0.8);
    EXPECT_EQ(result->targets(), 10);
    EXPECT_FALSE(result->has_perplexity());
  }
}

TEST_F(EvaluateTest, SoManyBatchesFromTheBeginningAreEnough) {
  const auto result = Evaluated({.batch_size = 4, .max_batches = 2});
  EXPECT_EQ(result->targets(), 8);
  EXPECT_DOUBLE_EQ(result->accuracy(), 1.0);
  EXPECT_NEAR(result->loss(), right_, 1e-6);
}

TEST_F(EvaluateTest, MoreBatchesThanThereAreMeanAllOfTheData) {
  EXPECT_EQ(Evaluated({.batch_size = 4, .max_batches = 3})->targets(), 10);
  EXPECT_EQ(Evaluated({.batch_size = 4, .max_batches = 1'000'000'000})->targets(), 10);
  EXPECT_EQ(Evaluated({.batch_size = 64, .max_batches = 1})->targets(), 10);
}

TEST_F(EvaluateTest, AStopInTheMiddleGivesNothing) {
  FakeControl control(3);
  EXPECT_FALSE(Evaluate(run_.state().model(), run_.data(), run_.policy(), {.batch_size = 4}, control).has_value());
  EXPECT_EQ(control.questions(), 3);
}

TEST_F(EvaluateTest, ChangesNothingOfTheRun) {
  run_.TrainTo(1);
  const auto before = BitsOf(run_.state());
  const std::string gradients = BytesIn(run_.state().model().parameters().gradients());
  Evaluated({.batch_size = 4});
  EXPECT_THAT(Differences(BitsOf(run_.state()), before), IsEmpty());
  EXPECT_EQ(BytesIn(run_.state().model().parameters().gradients()), gradients);
  EXPECT_TRUE(c10::GradMode::is_enabled());
}

TEST(EvaluateModelTest, DropsNothingOut) {
  const std::string model = "model { mlp { hidden: 16 dropout: ";
  SmallRun with(model + "0.5 } }"), without(model + "0 } }");
  FakeControl control;
  const auto dropped = Evaluate(with.state().model(), with.data(), with.policy(), {}, control);
  const auto whole = Evaluate(without.state().model(), without.data(), without.policy(), {}, control);
  EXPECT_EQ(dropped->loss(), whole->loss());
}

TEST(EvaluateModelTest, KeepsNothingForABackwardPass) {
  class WatchfulModel final : public Model {
   public:
    WatchfulModel() : Model({{"weight", {2}, spec::ParameterKind::kWeight}}, at::kCPU) {}
    at::Tensor Forward(const at::Tensor& input, const ForwardContext&) override {
      gradients_were_on_ = gradients_were_on_ || c10::GradMode::is_enabled();
      return at::zeros({input.size(0), 3});
    }
    bool gradients_were_on_ = false;
  };
  WatchfulModel model;
  FakeControl control;
  ASSERT_TRUE(Evaluate(model, *OneHotData(), PrecisionPolicy(v1::PrecisionSpec::FP32), {}, control).has_value());
  EXPECT_FALSE(model.gradients_were_on_);
}

TEST(EvaluateModelTest, ALanguageModelHasAPerplexityOverItsTokens) {
  SmallRun run(
      "model { gpt { layers: 1 d_model: 8 heads: 1 context: 5 } } data { train { synthetic { samples: 6 classes: 7 } } "
      "}");
  FakeControl control;
  const auto result = Evaluate(run.state().model(), run.data(), run.policy(), {.batch_size = 4}, control);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->targets(), 30);
  EXPECT_DOUBLE_EQ(result->perplexity(), std::exp(result->loss()));
  EXPECT_FALSE(result->has_accuracy());
}

}  // namespace
}  // namespace mantissa::trainer
