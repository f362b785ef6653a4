#include "worker/kernels/linear/small_linear.h"

#include <limits>
#include <optional>
#include <tuple>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

using cpu::ActivationKind;

class SmallLinearTest : public testing::TestWithParam<std::tuple<at::ScalarType, ActivationKind>> {};

// The CPU twin is what `linear` does on a CPU; here it is reached as the GPU's is.
TEST_P(SmallLinearTest, IsALinearLayerWithItsGradients) {
  const auto [type, activation] = GetParam();
  at::manual_seed(3);
  for (const bool input_is_low : {false, true}) {
    at::Tensor x = at::randn({5, 7});
    if (input_is_low) x = x.to(type);
    x.requires_grad_(true);
    at::Tensor weight = at::randn({3, 7}).requires_grad_(true), bias = at::randn({3}).requires_grad_(true);
    weight.mutable_grad() = at::ones({3, 7});
    bias.mutable_grad() = at::ones({3});
    const at::Tensor incoming = at::randn({5, 3}).to(type);
    const at::Tensor expected = OpLinear(x, weight, bias, type, static_cast<std::int64_t>(activation));
    expected.backward(incoming);

    const at::Tensor input = x.detach(), read = weight.detach();
    const at::Tensor result = at::empty({5, 3}, type), before = at::empty({5, 3}, type);
    SmallLinearForward(type, input, read, bias.detach(), activation, before, result);
    EXPECT_TRUE(at::equal(result, expected.detach()));
    const at::Tensor saved = activation == ActivationKind::kNone   ? at::Tensor()
                             : activation == ActivationKind::kGelu ? before
                                                                   : result;
    const at::Tensor weight_gradient = at::ones({3, 7}), bias_gradient = at::ones({3});
    const at::Tensor input_gradient = at::empty({5, 7}, x.scalar_type());
    SmallLinearBackward(incoming, saved, activation, input, read, weight_gradient, bias_gradient, input_gradient);
    EXPECT_TRUE(at::equal(weight_gradient, weight.grad()));
    EXPECT_TRUE(at::equal(bias_gradient, bias.grad()));
    EXPECT_TRUE(at::equal(input_gradient, x.grad()));
  }
}

INSTANTIATE_TEST_SUITE_P(TypesAndActivations, SmallLinearTest,
                         testing::Combine(testing::Values(at::kHalf, at::kBFloat16),
                                          testing::Values(ActivationKind::kNone, ActivationKind::kRelu,
                                                          ActivationKind::kGelu, ActivationKind::kTanh)));

TEST(SmallLinearShapeTest, PaysForLowFormatsAndShortSides) {
  const at::Tensor x = at::zeros({1, 1});
  const auto pays = [&](std::int64_t rows, std::int64_t in, std::int64_t out) {
    return SmallLinearPays(x, at::kHalf, {rows, in, out});
  };
  EXPECT_TRUE(pays(1, 1, 1));
  EXPECT_TRUE(pays(256, 256, 256));
  EXPECT_FALSE(pays(257, 1, 1));
  EXPECT_FALSE(pays(1, 257, 1));
  EXPECT_FALSE(pays(1, 1, 257));
  EXPECT_FALSE(pays(0, 1, 1));
  EXPECT_FALSE(pays(1, 0, 1));
  EXPECT_FALSE(pays(1, 1, 0));
  EXPECT_FALSE(SmallLinearPays(x, at::kFloat, {1, 1, 1})) << "it may have to be one of TF32";
  EXPECT_TRUE(SmallLinearPays(x.to(at::kHalf), at::kHalf, {1, 1, 1}));
  EXPECT_FALSE(SmallLinearPays(x.to(at::kBFloat16), at::kHalf, {1, 1, 1}));
}

TEST(SmallLinearShapeTest, WhatIsNoLayerIsRefused) {
  const at::Tensor x = at::zeros({4, 3}), weight = at::zeros({2, 3}), result = at::zeros({4, 2}, at::kHalf);
  const auto forward = [](const at::Tensor& input, const at::Tensor& read, const at::Tensor& bias,
                          const at::Tensor& to) {
    SmallLinearForward(to.scalar_type(), input, read, bias, ActivationKind::kNone, {}, to);
  };
  forward(x, weight, {}, result);
  EXPECT_THROW(forward(at::zeros({4, 5}), weight, {}, result), c10::Error);
  EXPECT_THROW(forward(x.to(at::kBFloat16), weight, {}, result), c10::Error);
  EXPECT_THROW(forward(x, at::zeros({3, 2}).t(), {}, result), c10::Error);
  EXPECT_THROW(forward(x, weight, at::zeros({3}), result), c10::Error);
  EXPECT_THROW(forward(x, weight, {}, at::zeros({4, 2})), c10::Error);
  EXPECT_THROW(SmallLinearForward(at::kHalf, x, weight, {}, ActivationKind::kGelu, at::zeros({4, 2}), result),
               c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
