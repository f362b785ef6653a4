// The policy's convolutions, norms and pools against ATen in double. A reference rounds where the policy rounds,
// operands and gradients alike, so that what is left is one rounding of a sum.
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "proto/spec/precision_table.h"
#include "worker/amp/precision_policy.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;

// From 1 to the next number.
double UnitOf(at::ScalarType type) { return type == at::kFloat ? 0x1p-23 : type == at::kHalf ? 0x1p-10 : 0x1p-7; }

at::Tensor Leaf(const at::Tensor& values) {
  const at::Tensor leaf = values.detach().clone().requires_grad_(true);
  leaf.mutable_grad() = at::zeros_like(leaf);
  return leaf;
}

at::Tensor InDouble(const at::Tensor& leaf) { return leaf.detach().to(at::kDouble).requires_grad_(true); }

// Largest difference as a share of the largest value.
double Apart(const at::Tensor& got, const at::Tensor& want) {
  const double largest = want.detach().abs().max().item<double>();
  return (got.detach().to(at::kDouble) - want.detach()).abs().max().item<double>() / largest;
}

class PrecisionPolicyLayersTest : public testing::TestWithParam<Mode::Mode> {
 protected:
  void SetUp() override { at::manual_seed(37); }

  // In double, rounded to the compute type; so is the gradient on its way back.
  at::Tensor Round(const at::Tensor& x) const { return type_ == at::kFloat ? x : x.to(type_).to(at::kDouble); }

  const PrecisionPolicy policy_{GetParam()};
  const at::ScalarType type_ = policy_.compute_type();
  // A sum that is near the middle of two numbers may go either way: one unit of the largest value. In FP32 a few, for
  // the order of some dozen products.
  const double one_rounding_ = (type_ == at::kFloat ? 16 : 1.01) * UnitOf(type_);
  // FP32 sums of up to a hundred products, whatever the mode.
  const double fp32_ = 64 * 0x1p-23;
};

struct ConvolutionCase {
  std::vector<std::int64_t> input;
  std::vector<std::int64_t> weight;
  bool bias = true;
  ConvolutionOptions options;
};

TEST_P(PrecisionPolicyLayersTest, ConvolutionsAgreeWithTheirDefinitionInBothDirections) {
  const std::vector<ConvolutionCase> cases = {
      {{3, 4, 9, 8}, {6, 4, 3, 3}, true, {.stride = 1, .padding = 1, .groups = 1}},
      {{2, 4, 9, 8}, {6, 2, 3, 3}, false, {.stride = 2, .padding = 0, .groups = 2}},
      {{2, 1, 5, 5}, {3, 1, 5, 5}, true, {}},
      {{1, 3, 4, 4}, {5, 3, 1, 1}, false, {}},
      {{3, 4, 11}, {6, 4, 5}, true, {.stride = 2, .padding = 2, .groups = 1}},
      {{3, 4, 11}, {4, 1, 3}, false, {.stride = 1, .padding = 0, .groups = 4}}};
  for (const ConvolutionCase& each : cases) {
    SCOPED_TRACE(testing::Message() << at::IntArrayRef(each.input) << " " << at::IntArrayRef(each.weight));
    const at::Tensor x = Leaf(at::randn(each.input)), weight = Leaf(at::randn(each.weight));
    const at::Tensor bias = each.bias ? Leaf(at::randn({each.weight[0]})) : at::Tensor();
    const at::Tensor y = policy_.Convolution(x, weight, bias, each.options);
    EXPECT_EQ(y.scalar_type(), type_);
    const at::Tensor incoming = at::randn_like(y);
    y.backward(incoming);

    const at::Tensor x64 = InDouble(x), weight64 = InDouble(weight);
    const at::Tensor bias64 = each.bias ? InDouble(bias) : at::Tensor();
    const std::size_t sides = each.input.size() - 2;
    const std::vector<std::int64_t> stride(sides, each.options.stride), padding(sides, each.options.padding),
        ones(sides, 1), none(sides, 0);
    const at::Tensor exact =
        at::convolution(Round(x64), Round(weight64), each.bias ? std::optional(Round(bias64)) : std::nullopt, stride,
                        padding, ones, false, none, each.options.groups);
    const at::Tensor reference = Round(exact);
    ASSERT_EQ(y.sizes(), reference.sizes());
    reference.backward(incoming.to(at::kDouble));
    EXPECT_LE(Apart(y, reference), one_rounding_);
    EXPECT_LE(Apart(x.grad(), x64.grad()), one_rounding_);
    EXPECT_LE(Apart(weight.grad(), weight64.grad()), one_rounding_);
    if (each.bias) {
      EXPECT_LE(Apart(bias.grad(), bias64.grad()), one_rounding_);
    }
  }
}

TEST_P(PrecisionPolicyLayersTest, AConvolutionOverflowsToInfInFp16Alone) {
  const at::Tensor x = at::full({1, 1, 2, 2}, 200.0), weight = at::full({1, 1, 2, 2}, 200.0);  // 160,000
  EXPECT_EQ(policy_.Convolution(x, weight, {}, {}).isfinite().all().item<bool>(), GetParam() != Mode::FP16);
}

// mean and 1 / sqrt(variance + epsilon) over all dimensions but the second, in double.
at::Tensor Normalised(const at::Tensor& x, const at::Tensor& mean, const at::Tensor& variance, double epsilon) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[1] = -1;
  return (x - mean.view(shape)) / (variance.view(shape) + epsilon).sqrt();
}

std::vector<std::int64_t> AllButTheSecond(const at::Tensor& x) {
  std::vector<std::int64_t> dimensions = {0};
  for (std::int64_t d = 2; d < x.dim(); ++d) dimensions.push_back(d);
  return dimensions;
}

TEST_P(PrecisionPolicyLayersTest, BatchNormIsFp32InsideAndMovesItsStatistics) {
  for (const std::vector<std::int64_t>& sizes :
       std::vector<std::vector<std::int64_t>>{{12, 5}, {4, 5, 7}, {3, 5, 4, 6}, {2, 5, 2, 3, 4}}) {
    SCOPED_TRACE(testing::Message() << at::IntArrayRef(sizes));
    const at::Tensor x = (at::randn(sizes) * 3 + 1).to(type_).requires_grad_(true);
    const at::Tensor weight = Leaf(at::randn({5})), bias = Leaf(at::randn({5}));
    const at::Tensor mean = at::randn({5}), variance = at::rand({5}) + 0.5;
    const at::Tensor mean_before = mean.clone(), variance_before = variance.clone();
    const at::Tensor y = policy_.BatchNorm(x, weight, bias, {mean, variance}, {.momentum = 0.25, .epsilon = 1e-3});
    EXPECT_EQ(y.scalar_type(), at::kFloat);
    const at::Tensor incoming = at::randn(sizes);
    y.backward(incoming);

    const at::Tensor x64 = InDouble(x), weight64 = InDouble(weight), bias64 = InDouble(bias);
    const std::vector<std::int64_t> over = AllButTheSecond(x64);
    const at::Tensor batch_mean = x64.mean(over), batch_variance = x64.var(over, /*unbiased=*/false);
    std::vector<std::int64_t> shape(sizes.size(), 1);
    shape[1] = 5;
    const at::Tensor reference =
        Normalised(x64, batch_mean, batch_variance, 1e-3) * weight64.view(shape) + bias64.view(shape);
    reference.backward(incoming.to(at::kDouble));
    EXPECT_LE(Apart(y, reference), fp32_);
    EXPECT_LE(Apart(weight.grad(), weight64.grad()), fp32_);
    EXPECT_LE(Apart(bias.grad(), bias64.grad()), fp32_);
    EXPECT_LE(Apart(x.grad(), x64.grad()), fp32_ + (type_ == at::kFloat ? 0 : 0.51 * UnitOf(type_)));
    // A quarter of the batch's; the variance is the unbiased one.
    EXPECT_LE(Apart(mean, mean_before.to(at::kDouble) * 0.75 + batch_mean.detach() * 0.25), fp32_);
    const at::Tensor unbiased = x64.detach().var(over, /*unbiased=*/true);
    EXPECT_LE(Apart(variance, variance_before.to(at::kDouble) * 0.75 + unbiased * 0.25), fp32_);
  }
}

TEST_P(PrecisionPolicyLayersTest, OutsideTrainingBatchNormUsesItsStatisticsAndLeavesThem) {
  const at::Tensor x = at::randn({3, 5, 2, 2}).to(type_);
  const at::Tensor weight = at::randn({5}), bias = at::randn({5}), mean = at::randn({5}),
                   variance = at::rand({5}) + 0.5;
  const at::Tensor mean_before = mean.clone(), variance_before = variance.clone();
  const at::Tensor y = policy_.BatchNorm(x, weight, bias, {mean, variance}, {.training = false});
  const at::Tensor reference = Normalised(x.to(at::kDouble), mean.to(at::kDouble), variance.to(at::kDouble), 1e-5) *
                                   weight.to(at::kDouble).view({1, 5, 1, 1}) +
                               bias.to(at::kDouble).view({1, 5, 1, 1});
  EXPECT_LE(Apart(y, reference), fp32_);
  EXPECT_TRUE(at::equal(mean, mean_before));
  EXPECT_TRUE(at::equal(variance, variance_before));
}

TEST_P(PrecisionPolicyLayersTest, ASingleValueAChannelHasNoVarianceAndPoisonsNothing) {
  const at::Tensor x = at::randn({1, 5}).to(type_).requires_grad_(true);
  const at::Tensor weight = Leaf(at::ones({5})), bias = Leaf(at::zeros({5}));
  const at::Tensor mean = at::randn({5}), variance = at::rand({5}) + 0.5;
  const at::Tensor mean_before = mean.clone(), variance_before = variance.clone();
  const at::Tensor y = policy_.BatchNorm(x, weight, bias, {mean, variance}, {});
  y.sum().backward();
  EXPECT_LE(Apart(y, Normalised(x.detach().to(at::kDouble), mean.to(at::kDouble), variance.to(at::kDouble), 1e-5)),
            fp32_);
  EXPECT_TRUE(x.grad().ne(0).all().item<bool>());
  EXPECT_TRUE(at::equal(mean, mean_before));
  EXPECT_TRUE(at::equal(variance, variance_before));
}

TEST_P(PrecisionPolicyLayersTest, RmsNormIsFp32Inside) {
  const at::Tensor x = (at::randn({3, 4, 16}) * 3).to(type_).requires_grad_(true);
  const at::Tensor weight = Leaf(at::randn({16}));
  const at::Tensor y = policy_.RmsNorm(x, weight, 1e-3);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  const at::Tensor incoming = at::randn({3, 4, 16});
  y.backward(incoming);
  const at::Tensor x64 = InDouble(x), weight64 = InDouble(weight);
  const at::Tensor reference = x64 / (x64.square().mean(-1, true) + 1e-3).sqrt() * weight64;
  reference.backward(incoming.to(at::kDouble));
  EXPECT_LE(Apart(y, reference), fp32_);
  EXPECT_LE(Apart(weight.grad(), weight64.grad()), fp32_);
  EXPECT_LE(Apart(x.grad(), x64.grad()), fp32_ + (type_ == at::kFloat ? 0 : 0.51 * UnitOf(type_)));
}

TEST_P(PrecisionPolicyLayersTest, LogSoftmaxIsFp32AndFiniteWhereItsExponentialsAreNot) {
  const at::Tensor x = (at::randn({4, 9}) * 100).to(type_).requires_grad_(true);
  const at::Tensor y = policy_.LogSoftmax(x);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  const at::Tensor incoming = at::randn({4, 9});
  y.backward(incoming);
  const at::Tensor x64 = InDouble(x);
  const at::Tensor largest = std::get<0>(x64.max(-1, true)).detach();
  const at::Tensor reference = x64 - largest - (x64 - largest).exp().sum(-1, true).log();
  reference.backward(incoming.to(at::kDouble));
  EXPECT_LE(Apart(y, reference), fp32_);
  EXPECT_LE(Apart(x.grad(), x64.grad()), fp32_ + (type_ == at::kFloat ? 0 : 0.51 * UnitOf(type_)));
}

TEST_P(PrecisionPolicyLayersTest, MaxPoolPicksTheLargestAsItIsAndSendsTheGradientThere) {
  const at::Tensor x = at::arange(2 * 3 * 4, at::kFloat).view({1, 2, 3, 4}).to(type_).requires_grad_(true);
  const at::Tensor y = policy_.MaxPool(x, {.kernel = 2, .stride = 1});
  EXPECT_EQ(y.scalar_type(), type_);
  const at::Tensor expected = x.detach().slice(2, 1).slice(3, 1);  // values grow along both
  EXPECT_TRUE(at::equal(y, expected));
  y.backward(at::ones_like(y));
  EXPECT_TRUE(at::equal(x.grad().slice(2, 1).slice(3, 1), at::ones_like(expected)));
  EXPECT_EQ(x.grad().sum().item<float>(), 12);
  const at::Tensor line = at::arange(6, at::kFloat).view({1, 1, 6}).to(type_);
  EXPECT_TRUE(
      at::equal(policy_.MaxPool(line, {.kernel = 3, .stride = 2}).to(at::kFloat).view(-1), at::tensor({2.f, 4.f})));
}

TEST_P(PrecisionPolicyLayersTest, MeansAreFp32SumsThatLowPrecisionCouldNotHold) {
  // 300 numbers of 250 make 75,000, beyond FP16; 1 + 2^-9 has more bits than BF16.
  const at::Tensor x = at::full({1, 2, 10, 30}, 250.0).to(type_);
  EXPECT_EQ(policy_.Mean(x, {2, 3}).scalar_type(), at::kFloat);
  EXPECT_TRUE(policy_.Mean(x, {2, 3}).eq(250).all().item<bool>());
  const at::Tensor pair = at::tensor({1.f, 1.f + 0x1p-7f}).view({1, 1, 2}).to(type_);
  EXPECT_EQ(policy_.AveragePool(pair, {}).item<float>(), 1 + 0x1p-8f);
  const at::Tensor square = pair.view({1, 1, 1, 2}).expand({1, 1, 2, 2});
  EXPECT_EQ(policy_.AveragePool(square, {}).item<float>(), 1 + 0x1p-8f);
  EXPECT_EQ(policy_.AveragePool(at::ones({1, 1, 7}).to(type_), {.kernel = 3, .stride = 2}).size(2), 3);
}

TEST_P(PrecisionPolicyLayersTest, ActivationsAndScalesRoundOnceInTheTypeThatTheyRead) {
  for (const at::ScalarType from : {at::kFloat, type_}) {
    const at::Tensor x = at::randn({64}).to(from);
    const at::Tensor exact = x.to(at::kDouble);
    const double rounding = 0.51 * UnitOf(from) + 4 * 0x1p-23;
    EXPECT_TRUE(at::equal(policy_.Activate(x, Activation::kRelu), at::relu(x)));
    EXPECT_LE(Apart(policy_.Activate(x, Activation::kGelu), at::gelu(exact, "tanh")), rounding);
    EXPECT_LE(Apart(policy_.Activate(x, Activation::kTanh), at::tanh(exact)), rounding);
    EXPECT_LE(Apart(policy_.Scale(x, 0.3), exact * 0.3), rounding);
    for (const at::Tensor& y : {policy_.Activate(x, Activation::kTanh), policy_.Scale(x, 0.3)}) {
      EXPECT_EQ(y.scalar_type(), from);
    }
    EXPECT_TRUE(policy_.Activate(x, Activation::kNone).is_same(x));
  }
}

TEST_P(PrecisionPolicyLayersTest, AConstantBelowFp16StillScalesAndItsGradientIsFlushedThere) {
  const at::Tensor x = at::full({4}, 1024.0).to(type_).requires_grad_(true);
  const at::Tensor y = policy_.Scale(x, 1e-9);  // the factor itself is 0 in FP16
  // 1.02e-6 is subnormal in FP16, a multiple of 2^-24.
  EXPECT_NEAR(y[0].item<double>(), 1.024e-6, type_ == at::kHalf ? 0x1p-25 : 1.024e-6 * UnitOf(type_));
  y.backward(at::ones({4}, type_));
  EXPECT_EQ(x.grad()[0].item<double>() == 0, type_ == at::kHalf);
}

INSTANTIATE_TEST_SUITE_P(Modes, PrecisionPolicyLayersTest, testing::Values(Mode::FP32, Mode::BF16, Mode::FP16),
                         [](const auto& info) { return Mode::Mode_Name(info.param); });

}  // namespace
}  // namespace mantissa::trainer
