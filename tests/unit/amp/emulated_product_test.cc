// Products in formats that the device lacks, against products in double of operands that are rounded by hand.
#include "worker/amp/emulated_product.h"

#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/amp/attention_in_double.h"
#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec;

at::Tensor ByHand(Mode::Mode mode, const at::Tensor& x) {
  if (mode == Mode::BF16) return x.detach().to(at::kBFloat16).to(at::kDouble);
  return FindOp<at::Tensor(const at::Tensor&)>("mantissa::round_tf32").call(x.detach()).to(at::kDouble);
}

at::Tensor Leaf(const at::Tensor& values) { return values.detach().clone().requires_grad_(true); }

double WorstError(const at::Tensor& got, const at::Tensor& want) {
  return (got.detach().to(at::kDouble) - want).abs().max().item<double>();
}

PrecisionPolicy Emulated(Mode::Mode mode) {
  v1::PrecisionSpec precision;
  precision.set_mode(mode);
  return {precision, {}, {mode}};
}

class EmulatedProductTest : public testing::TestWithParam<Mode::Mode> {
 protected:
  void SetUp() override { at::manual_seed(3); }

  // Of a result near 10: FP32 sums, and, in BF16, one rounding.
  double tolerance() const { return GetParam() == Mode::BF16 ? 0.04 : 1e-5; }
  at::Tensor ByHand(const at::Tensor& x) const { return trainer::ByHand(GetParam(), x); }

  const PrecisionPolicy policy_ = Emulated(GetParam());
};

TEST_P(EmulatedProductTest, ALinearLayerReadsRoundedOperandsForwardAndBackward) {
  const at::Tensor x = Leaf(at::randn({5, 7}));
  const at::Tensor weight = Leaf(at::randn({4, 7}));
  const at::Tensor bias = Leaf(at::randn({4}));
  const at::Tensor y = policy_.Linear(x, weight, bias);
  EXPECT_EQ(y.scalar_type(), policy_.compute_type());
  EXPECT_LT(WorstError(y, at::linear(ByHand(x), ByHand(weight)) + bias.detach().to(at::kDouble)), tolerance());
  const at::Tensor gradient = at::randn({5, 4}).to(y.scalar_type());
  y.backward(gradient);
  const at::Tensor read = ByHand(gradient.to(at::kFloat));
  EXPECT_LT(WorstError(x.grad(), at::mm(read, ByHand(weight))), tolerance());
  EXPECT_LT(WorstError(weight.grad(), at::mm(read.t(), ByHand(x))), tolerance());
  EXPECT_LT(WorstError(bias.grad(), gradient.to(at::kDouble).sum(0)), tolerance());
  // And that is not what FP32 gives.
  EXPECT_GT(WorstError(at::linear(x.detach(), weight.detach(), bias.detach()),
                       at::linear(ByHand(x), ByHand(weight)) + bias.detach().to(at::kDouble)),
            1e-5);
}

TEST_P(EmulatedProductTest, TheActivationIsOfTheResult) {
  const at::Tensor x = at::randn({5, 7});
  const at::Tensor weight = at::randn({4, 7});
  EXPECT_TRUE(at::equal(policy_.Linear(x, weight, {}, Activation::kRelu), at::relu(policy_.Linear(x, weight, {}))));
}

TEST_P(EmulatedProductTest, AConvolutionReadsRoundedOperands) {
  const at::Tensor x = Leaf(at::randn({2, 3, 6, 6}));
  const at::Tensor weight = Leaf(at::randn({4, 3, 3, 3}));
  const at::Tensor bias = Leaf(at::randn({4}));
  const at::Tensor y = policy_.Convolution(x, weight, bias, {.stride = 1, .padding = 1});
  const at::Tensor want = Convolve(ByHand(x), ByHand(weight), bias.detach().to(at::kDouble), {.padding = 1});
  EXPECT_LT(WorstError(y, want), 2 * tolerance());
  y.backward(at::ones_like(y));
  EXPECT_LT(WorstError(bias.grad(), at::full({4}, 72.0, at::kDouble)), 1e-3);
  EXPECT_TRUE(weight.grad().defined() && x.grad().defined());
}

TEST_P(EmulatedProductTest, AttentionReadsRoundedOperandsInBothProducts) {
  for (const bool causal : {false, true}) {
    const at::Tensor qkv = Leaf(at::randn({2, 5, 24}));
    const at::Tensor y = policy_.Attention(qkv, /*heads=*/2, causal);
    EXPECT_EQ(y.scalar_type(), policy_.compute_type());
    const double unit = GetParam() == Mode::BF16 ? 0x1p-7 : 0x1p-10;
    EXPECT_LT(WorstError(y, AttentionInDouble(ByHand(qkv), 2, causal)), 4 * unit) << causal;
    y.sum().backward();
    EXPECT_TRUE(qkv.grad().isfinite().all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, EmulatedProductTest, testing::Values(Mode::TF32, Mode::BF16),
                         [](const auto& info) { return std::string(Mode::Mode_Name(info.param)); });

TEST(Tf32PolicyTest, ACpuThatWasNotAskedToEmulateItRefuses) {
  const PrecisionPolicy policy(Mode::TF32);
  EXPECT_EQ(policy.compute_type(), at::kFloat);
  EXPECT_THROW(policy.Linear(at::ones({1, 2}), at::ones({1, 2}), {}), c10::Error);
  EXPECT_THROW(policy.Convolution(at::ones({1, 1, 2, 2}), at::ones({1, 1, 1, 1}), {}, {}), c10::Error);
  EXPECT_THROW(policy.Attention(at::ones({1, 1, 3}), 1, false), c10::Error);
}

TEST(OverriddenPolicyTest, EachModuleHasItsOwnAndOthersTheModes) {
  v1::PrecisionSpec precision;
  precision.set_mode(Mode::FP16);
  v1::PrecisionOverride& head = *precision.add_overrides();
  head.set_match("head");
  head.set_compute(Mode::FP32);
  const std::vector<spec::Parameter> parameters = {{.path = "layers.0.weight", .shape = {4, 4}},
                                                   {.path = "head.weight", .shape = {2, 4}}};
  const PrecisionPolicy policy(precision, parameters, {});
  EXPECT_EQ(policy.mode(), Mode::FP16);
  EXPECT_EQ(policy.Of("layers.0").mode(), Mode::FP16);
  EXPECT_EQ(policy.Of("head").mode(), Mode::FP32);
  EXPECT_EQ(policy.Of("head").Linear(at::ones({1, 4}, at::kHalf), at::ones({2, 4}), {}).scalar_type(), at::kFloat);
  EXPECT_EQ(policy.Of("elsewhere").mode(), Mode::FP16);
  EXPECT_EQ(policy.input_type(), at::kHalf);
  head.set_match("layers");
  EXPECT_EQ(PrecisionPolicy(precision, parameters, {}).input_type(), at::kFloat);
}

}  // namespace
}  // namespace mantissa::trainer
