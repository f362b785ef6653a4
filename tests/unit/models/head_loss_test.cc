#include "worker/models/head_loss.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kRows = 300;
constexpr std::int64_t kClasses = 40;
constexpr std::int64_t kWidth = 16;
constexpr std::int64_t kInOnePiece = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kInPieces = 1;  // of 128, 128 and 44 rows

class CountingProbe : public ActivationProbe {
 public:
  at::Tensor Pass(const std::string& module, const at::Tensor& output) override {
    EXPECT_EQ(module, "head");
    rows.push_back(output.size(0));
    kept.push_back(output);
    return output;
  }

  std::vector<std::int64_t> rows;
  std::vector<at::Tensor> kept;
};

struct Outcome {
  HeadLoss loss;
  at::Tensor weight_gradient;
};

class HeadLossTest : public testing::TestWithParam<v1::PrecisionSpec::Mode> {
 protected:
  at::Tensor Normal(at::IntArrayRef sizes) { return at::normal(0, 1, sizes, generator_); }

  Outcome Run(std::int64_t most_bytes, ActivationProbe* probe = nullptr) {
    LinearParameters head{.path = "head", .weight = weight.clone().requires_grad_(), .bias = {}};
    head.weight.mutable_grad() = at::ones_like(weight);
    Outcome outcome;
    outcome.loss = RunHead({.features = features, .head = head}, targets, seed,
                           {.policy = policy, .key = {}, .training = true, .probe = probe}, most_bytes);
    outcome.weight_gradient = head.weight.grad();
    return outcome;
  }

  // One rounding of the format, times a few.
  double Tolerance() const { return policy.compute_type() == at::kFloat ? 1e-5 : 0.02; }
  testing::AssertionResult IsNear(const at::Tensor& a, const at::Tensor& b) const {
    const at::Tensor error = (a.to(at::kFloat) - b.to(at::kFloat)).norm() / b.to(at::kFloat).norm();
    const double value = error.item<double>();
    return (value <= Tolerance() ? testing::AssertionSuccess() : testing::AssertionFailure()) << value;
  }

  at::Generator generator_ = at::detail::createCPUGenerator(/*seed_val=*/20);
  PrecisionPolicy policy{GetParam()};
  at::Tensor features = Normal({kRows, kWidth}).to(policy.compute_type());
  at::Tensor weight = Normal({kClasses, kWidth});
  at::Tensor targets = at::randint(kClasses, {kRows}, generator_, at::kLong);
  at::Tensor seed = at::full({}, 0.25);
};

TEST_P(HeadLossTest, IsTheLayerTheLossAndTheirBackwardPass) {
  targets.narrow(0, 0, 7).fill_(PrecisionPolicy::kIgnored);
  const at::Tensor leaf = features.clone().requires_grad_();
  const at::Tensor leaf_weight = weight.clone().requires_grad_();
  const at::Tensor loss = policy.CrossEntropy(policy.Linear(leaf, leaf_weight, {}), targets);
  loss.backward(seed);
  for (const std::int64_t most_bytes : {kInOnePiece, kInPieces}) {
    const Outcome outcome = Run(most_bytes);
    EXPECT_TRUE(IsNear(outcome.loss.loss_sum, loss));
    EXPECT_EQ(outcome.loss.loss_sum.scalar_type(), at::kFloat);
    EXPECT_EQ(outcome.loss.loss_sum.dim(), 0);
    EXPECT_EQ(outcome.loss.gradient.scalar_type(), features.scalar_type());
    EXPECT_TRUE(IsNear(outcome.loss.gradient, leaf.grad()));
    EXPECT_TRUE(IsNear(outcome.weight_gradient - 1, leaf_weight.grad())) << "added to what was there";
  }
}

TEST_P(HeadLossTest, AProbeSeesAllLogitsAtOnceAndMayKeepThem) {
  CountingProbe probe;
  const Outcome outcome = Run(kInPieces, &probe);
  EXPECT_EQ(probe.rows, std::vector<std::int64_t>({kRows}));
  EXPECT_TRUE(IsNear(probe.kept[0], at::linear(features.to(at::kFloat), weight))) << "not written over";
  EXPECT_TRUE(IsNear(outcome.loss.gradient, Run(kInPieces).loss.gradient));
}

TEST_P(HeadLossTest, ARowThatIsNotFiniteShowsInTheLossAndInItsOwnGradient) {
  features[200][3] = std::numeric_limits<float>::quiet_NaN();
  const Outcome outcome = Run(kInPieces);
  EXPECT_TRUE(std::isnan(outcome.loss.loss_sum.item<float>()));
  const at::Tensor finite = outcome.loss.gradient.isfinite().all(1);
  EXPECT_FALSE(finite[200].item<bool>());
  EXPECT_EQ(finite.sum().item<std::int64_t>(), kRows - 1);
  EXPECT_FALSE(outcome.weight_gradient.isfinite().all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Precisions, HeadLossTest,
                         testing::Values(v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16, v1::PrecisionSpec::BF16),
                         [](const auto& info) { return v1::PrecisionSpec::Mode_Name(info.param); });

}  // namespace
}  // namespace mantissa::trainer
