// GELU, and the backward pass of linear layers' activations and biases, against the plain formula in double.
#include <cmath>
#include <limits>
#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

enum ActivationNumber : std::int64_t { kNone = 0, kRelu = 1, kGelu = 2, kTanh = 3 };

at::Tensor Call(const at::Tensor& gradient, const at::Tensor& saved, std::int64_t activation,
                const at::Tensor& bias_gradient) {
  return FindOp<at::Tensor(const at::Tensor&, const std::optional<at::Tensor>&, std::int64_t,
                           const std::optional<at::Tensor>&)>("mantissa::activation_backward")
      .call(gradient.to(kGpu), activation == kNone ? std::nullopt : std::optional(saved.to(kGpu)), activation,
            bias_gradient.defined() ? std::optional(bias_gradient) : std::nullopt)
      .cpu();
}

at::Tensor InDouble(const at::Tensor& gradient_any, const at::Tensor& saved_any, std::int64_t activation) {
  const at::Tensor gradient = gradient_any.to(at::kDouble), saved = saved_any.to(at::kDouble);
  switch (activation) {
    case kRelu:
      return at::threshold_backward(gradient, saved, 0);
    case kGelu:
      return at::gelu_backward(gradient, saved, "tanh");
    case kTanh:
      return gradient * (1 - saved * saved);
    default:
      return gradient;
  }
}

double Unit(at::ScalarType type) { return type == at::kFloat ? 0x1p-23 : type == at::kHalf ? 0x1p-10 : 0x1p-7; }

class GpuActivationBackwardTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  GpuActivationBackwardTest() { at::manual_seed(31); }
};

TEST_P(GpuActivationBackwardTest, DerivativeAndBiasGradientAreThoseOfTheFormula) {
  for (const std::int64_t activation : {kNone, kRelu, kGelu, kTanh}) {
    for (const std::int64_t columns : {1, 3, 8, 10, 31, 256, 260, 3072}) {
      for (const std::int64_t rows : {1, 7, 65, 2001}) {
        const at::Tensor gradient = at::randn({rows, columns}).to(GetParam());
        const at::Tensor saved =
            (activation == kTanh ? at::randn({rows, columns}).tanh() : at::randn({rows, columns}) * 3).to(GetParam());
        const at::Tensor bias = at::ones({columns}).to(kGpu);
        const at::Tensor got = Call(gradient, saved, activation, bias).to(at::kDouble);
        const at::Tensor want = InDouble(gradient, saved, activation);
        // One rounding; and near its zero GELU's derivative is the difference of numbers of 1.
        const at::Tensor allowed = want.abs() * Unit(GetParam()) + gradient.to(at::kDouble).abs() * 2e-6 + 1e-7;
        EXPECT_TRUE((got - want).abs().le(allowed).all().item<bool>()) << activation << " " << got.sizes();
        // Sums of what was rounded, rounded once themselves.
        const at::Tensor sums = got.sum(0);
        const at::Tensor error = (bias.cpu().to(at::kDouble) - 1 - sums).abs();
        const at::Tensor allowed_sum = sums.abs() * Unit(GetParam()) + got.abs().sum(0) * 1e-6 + 1e-6;
        EXPECT_TRUE(error.le(allowed_sum).all().item<bool>())
            << activation << " " << got.sizes() << " " << (error / allowed_sum).max().item<double>();
        EXPECT_TRUE(at::equal(Call(gradient, saved, activation, {}).to(at::kDouble), got));
      }
    }
  }
}

class GpuGeluTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(GpuGeluTest, IsTheFormulaRoundedOnce) {
  at::manual_seed(32);
  const auto op = FindOp<at::Tensor(const at::Tensor&)>("mantissa::gelu");
  for (const std::int64_t size : {0, 1, 7, 8, 9, 2047, 2049, 100'003}) {
    for (const std::int64_t begin : {0, 1}) {
      const at::Tensor z = (at::randn({size + begin}) * 4).to(GetParam()).narrow(0, begin, size);
      const at::Tensor got = op.call(z.to(kGpu)).cpu().to(at::kDouble);
      const at::Tensor want = at::gelu(z.to(at::kDouble), "tanh");
      // Far below 0 the result is what is left of a difference, and below the type's normal range.
      const at::Tensor allowed = want.abs() * Unit(GetParam()) + 2e-7;
      EXPECT_TRUE((got - want).abs().le(allowed).all().item<bool>()) << size << " " << begin;
    }
  }
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const at::Tensor hard = at::tensor({0.0f, -0.0f, 200.0f, -200.0f, 60000.0f, -60000.0f, kInf, -kInf, NAN});
  const at::Tensor got = op.call(hard.to(GetParam()).to(kGpu)).cpu().to(at::kFloat);
  const at::Tensor want = at::gelu(hard.to(GetParam()).to(kGpu), "tanh").cpu().to(at::kFloat);
  EXPECT_TRUE(at::allclose(got, want, 0, 0, /*equal_nan=*/true)) << got << want;
  EXPECT_THROW(op.call(at::zeros({2}).to(kGpu)), c10::Error);
}

INSTANTIATE_TEST_SUITE_P(LowTypes, GpuGeluTest, testing::Values(at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST_P(GpuActivationBackwardTest, NanAndInfAreWhatLibtorchMakesOfThem) {
  at::Tensor values = at::tensor({0.5, INFINITY, -INFINITY, NAN, 0.0, -2.0, 30.0, -30.0}).to(GetParam());
  for (const std::int64_t activation : {kNone, kRelu, kGelu, kTanh}) {
    const at::Tensor gradient = values.view({8, 1}).expand({8, 8}).contiguous();
    const at::Tensor saved = values.view({1, 8}).expand({8, 8}).contiguous();
    const at::Tensor bias = at::zeros({8}).to(kGpu);
    const at::Tensor got = Call(gradient, saved, activation, bias);
    const at::Tensor g = gradient.to(at::kFloat), s = saved.to(at::kFloat);
    const at::Tensor want = activation == kGelu   ? at::gelu_backward(g, s, "tanh")
                            : activation == kRelu ? at::threshold_backward(g, s, 0)
                            : activation == kTanh ? at::tanh_backward(g, s)
                                                  : g;
    EXPECT_TRUE(at::equal(got.isnan(), want.isnan())) << activation << "\n" << got << want;
    EXPECT_TRUE(at::equal(got.isfinite(), want.isfinite())) << activation;
    EXPECT_TRUE(at::equal(bias.cpu().isnan(), want.sum(0).isnan())) << activation;
  }
}

TEST_P(GpuActivationBackwardTest, ReadsAnyLayoutAndAnyBegin) {
  const at::Tensor gradient = at::randn({40, 64}).to(GetParam()), saved = at::randn({40, 64}).to(GetParam());
  const at::Tensor bias = at::zeros({64}).to(kGpu), again = at::zeros({64}).to(kGpu);
  const at::Tensor want = Call(gradient, saved, kGelu, bias);
  const at::Tensor room = at::empty({40 * 64 + 1}, gradient.options()).to(kGpu);
  const at::Tensor shifted = room.narrow(0, 1, 40 * 64).view({40, 64}).copy_(gradient);
  const at::Tensor turned = saved.to(kGpu).t().contiguous().t();
  EXPECT_TRUE(at::equal(Call(shifted, turned, kGelu, again), want));
  EXPECT_TRUE(at::allclose(again, bias, 1e-2, 1e-5));
}

TEST_P(GpuActivationBackwardTest, AnOverflowOfTheSumIsOne) {
  if (GetParam() != at::kHalf) GTEST_SKIP() << "of FP16 only";
  const at::Tensor bias = at::zeros({4}).to(kGpu);
  Call(at::full({64, 4}, 2048.0).to(at::kHalf), {}, kNone, bias);
  EXPECT_TRUE(bias.isinf().all().item<bool>());
}

TEST_P(GpuActivationBackwardTest, WrongShapesAndTypesAreRefused) {
  const at::Tensor gradient = at::zeros({2, 4}).to(GetParam());
  EXPECT_THROW(Call(gradient.view({8}), {}, kNone, {}), c10::Error);
  EXPECT_THROW(Call(gradient, at::zeros({2, 3}).to(GetParam()), kRelu, {}), c10::Error);
  EXPECT_THROW(Call(gradient, {}, kNone, at::zeros({3}).to(kGpu)), c10::Error);
  EXPECT_THROW(Call(gradient, {}, kNone, at::zeros({4})), c10::Error);
}

INSTANTIATE_TEST_SUITE_P(Types, GpuActivationBackwardTest, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace mantissa::trainer
