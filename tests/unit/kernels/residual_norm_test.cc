// residual_norm on the CPU against the plain formula in double.
#include <cmath>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

at::Tensor NormInDouble(const at::Tensor& sum, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor centred = sum - sum.mean({-1}, true);
  return centred / (centred.square().mean({-1}, true) + 1e-5).sqrt() * weight + bias;
}

at::Tensor Leaf(const at::Tensor& values) { return values.detach().clone().requires_grad_(true); }

class ResidualNormTest : public testing::Test {
 protected:
  ResidualNormTest() { at::manual_seed(11); }

  ResidualNormCall Call(std::int64_t width) {
    return {Leaf(at::randn({5, width})), Leaf(at::randn({5, width})), Leaf(at::randn({width})),
            Leaf(at::randn({width}))};
  }
};

TEST_F(ResidualNormTest, SumNormAndGradientsAreThoseOfTheFormula) {
  for (const std::int64_t width : {2, 7, 64, 129}) {
    const ResidualNormCall call = Call(width);
    const auto [sum, norm, low] = OpResidualNorm(call);
    EXPECT_FALSE(low.defined());
    const at::Tensor of_sum = at::randn({5, width}), of_norm = at::randn({5, width});
    ((sum * of_sum).sum() + (norm * of_norm).sum()).backward();

    const auto exact = [](const at::Tensor& leaf) { return Leaf(leaf.to(at::kDouble)); };
    const at::Tensor x = exact(call.x), branch = exact(call.branch), weight = exact(call.weight),
                     bias = exact(call.bias);
    const at::Tensor want_sum = x + branch;
    const at::Tensor want = NormInDouble(want_sum, weight, bias);
    ((want_sum * of_sum).sum() + (want * of_norm).sum()).backward();
    // Of two numbers a row, the deviation may be tiny: it divides what was rounded.
    const double tolerance = width == 2 ? 1e-3 : 2e-5;
    const auto close = [&](const at::Tensor& got, const at::Tensor& expected) {
      return at::allclose(got.to(at::kDouble), expected, tolerance, tolerance);
    };
    EXPECT_TRUE(close(sum.detach(), want_sum.detach())) << width;
    EXPECT_TRUE(close(norm.detach(), want.detach())) << width;
    EXPECT_TRUE(close(call.x.grad(), x.grad())) << width;
    EXPECT_TRUE(close(call.branch.grad(), branch.grad())) << width;
    EXPECT_TRUE(close(call.weight.grad(), weight.grad())) << width;
    EXPECT_TRUE(close(call.bias.grad(), bias.grad())) << width;
  }
}

TEST_F(ResidualNormTest, TheLowNormIsTheNormRoundedOnce) {
  ResidualNormCall call = Call(33);
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    call.low = type;
    const auto [sum, norm, low] = OpResidualNorm(call);
    EXPECT_TRUE(at::equal(low.detach(), norm.detach().to(type)));
  }
}

TEST_F(ResidualNormTest, TheBranchIsDroppedAsByDropout) {
  ResidualNormCall call = Call(40);
  call.probability = 0.5;
  const at::Tensor kept = OpDropout(call.branch.detach(), 0.5, call.key);
  EXPECT_TRUE(at::equal(std::get<0>(OpResidualNorm(call)).detach(), call.x.detach() + kept));
  // The iteration of a recorded run.
  call.window = at::full({1}, call.key.iteration, at::kLong);
  call.key.iteration = 77;
  EXPECT_TRUE(at::equal(std::get<0>(OpResidualNorm(call)).detach(), call.x.detach() + kept));
}

TEST_F(ResidualNormTest, WithoutABranchTheNormIsOfXAndThereIsNoSum) {
  ResidualNormCall call = Call(16);
  call.branch = at::Tensor();
  call.norm = false;
  call.low = at::kBFloat16;
  const auto [sum, norm, low] = OpResidualNorm(call);
  EXPECT_FALSE(sum.defined());
  EXPECT_FALSE(norm.defined());
  const at::Tensor want = at::layer_norm(call.x, {16}, call.weight, call.bias).detach();
  EXPECT_TRUE(at::equal(low.detach(), want.to(at::kBFloat16)));
}

TEST_F(ResidualNormTest, ShapesThatDoNotFitAreRefused) {
  ResidualNormCall call = Call(16);
  call.weight = at::ones({15});
  EXPECT_THROW(OpResidualNorm(call), c10::Error);
  call = Call(16);
  call.bias = at::ones({15});
  EXPECT_THROW(OpResidualNorm(call), c10::Error);
  call = Call(16);
  call.low = at::kDouble;
  EXPECT_THROW(OpResidualNorm(call), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
