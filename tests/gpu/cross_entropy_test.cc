#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

struct Result {
  at::Tensor loss;
  at::Tensor gradient;
};

Result On(at::Device device, const at::Tensor& logits, const at::Tensor& targets, double incoming = 1) {
  const at::Tensor leaf = logits.detach().to(device).clone().requires_grad_(true);
  const at::Tensor loss = OpCrossEntropy(leaf, targets.to(device));
  loss.backward(at::full({}, incoming, at::TensorOptions(at::kFloat).device(device)));
  return {loss.detach().cpu(), leaf.grad().cpu()};
}

// One unit in the last place, relative to 1.
double Unit(at::ScalarType type) { return type == at::kFloat ? 0x1p-23 : type == at::kHalf ? 0x1p-10 : 0x1p-7; }

void ExpectTwins(const at::Tensor& logits, const at::Tensor& targets, double incoming) {
  const Result cpu = On(at::kCPU, logits, targets, incoming);
  const Result gpu = On(kGpu, logits, targets, incoming);
  EXPECT_EQ(gpu.gradient.scalar_type(), logits.scalar_type());
  // 4e-6: both are within 2e-6 of the exact loss (an exponential of 2 ulp, and a sum over the classes in FP32).
  EXPECT_NEAR(gpu.loss.item<double>(), cpu.loss.item<double>(), 4e-6 * (1 + std::fabs(cpu.loss.item<double>())));
  // The same for the gradient, and each is rounded once: values near a halfway point may fall on either side of it. At
  // the target, one number near 1 is taken from another.
  const at::Tensor error = (gpu.gradient.to(at::kDouble) - cpu.gradient.to(at::kDouble)).abs();
  const at::Tensor allowed =
      cpu.gradient.to(at::kDouble).abs() * (Unit(logits.scalar_type()) + 4e-6) + 4e-6 * std::fabs(incoming) + 6e-8;
  EXPECT_TRUE(error.le(allowed).all().item<bool>())
      << logits.sizes() << " " << logits.scalar_type() << " worst " << (error / allowed).max().item<double>();
}

// Loss and gradient at once against the two passes on the CPU, in a place of its own and over the logits.
void ExpectTwinsAtOnce(const at::Tensor& logits, const at::Tensor& targets, double incoming) {
  const Result cpu = On(at::kCPU, logits, targets, incoming);
  const at::Tensor seed = at::full({}, incoming, at::TensorOptions(at::kFloat).device(kGpu));
  for (const bool overwrite : {false, true}) {
    const at::Tensor given = logits.to(kGpu).clone();
    const auto [loss, on_gpu] = OpCrossEntropyAndGradient(given, targets.to(kGpu), seed, overwrite);
    EXPECT_EQ(on_gpu.data_ptr() == given.data_ptr(), overwrite);
    const double want = cpu.loss.item<double>();
    EXPECT_NEAR(loss.item<double>(), want, 4e-6 * (1 + std::fabs(want)));
    const at::Tensor of_cpu = cpu.gradient.to(at::kDouble);
    const at::Tensor error = (on_gpu.cpu().to(at::kDouble) - of_cpu).abs();
    const at::Tensor allowed = of_cpu.abs() * (Unit(logits.scalar_type()) + 8e-6) + 4e-6 * std::fabs(incoming) + 6e-8;
    EXPECT_TRUE(error.le(allowed).all().item<bool>())
        << logits.sizes() << " " << logits.scalar_type() << " worst " << (error / allowed).max().item<double>();
  }
}

class GpuCrossEntropyTest : public testing::TestWithParam<at::ScalarType> {};

// Around the widths of a vector, of a warp's row, and a vocabulary.
TEST_P(GpuCrossEntropyTest, AgreesWithTheCpuForEveryWidth) {
  at::manual_seed(3);
  for (const std::int64_t classes :
       {1, 2, 4, 7, 8, 9, 10, 31, 32, 33, 256, 1000, 1024, 1025, 1032, 5000, 8191, 8192, 50257, 50304}) {
    const at::Tensor logits = (at::randn({13, classes}) * 4).to(GetParam());
    at::Tensor targets = at::randint(0, classes, {13}, at::kLong);
    targets[3] = -100;
    targets[12] = -100;
    ExpectTwins(logits, targets, 0.25);
    ExpectTwinsAtOnce(logits, targets, 0.25);
  }
}

TEST_P(GpuCrossEntropyTest, AgreesWithTheCpuForManyRows) {
  at::manual_seed(4);
  // One, whole blocks of eight and not, and many.
  for (const std::int64_t rows : {1, 31, 32, 33, 3001}) {
    const at::Tensor logits = (at::randn({rows, 10}) * 3).to(GetParam());
    const at::Tensor targets = at::randint(0, 10, {rows}, at::kLong);
    ExpectTwins(logits, targets, 1024.0 / static_cast<double>(rows));
    ExpectTwinsAtOnce(logits, targets, 1024.0 / static_cast<double>(rows));
  }
}

TEST_P(GpuCrossEntropyTest, IgnoredRowsHaveNoLossAndNoGradientWhateverTheyHold) {
  for (const std::int64_t classes : {4, 2000}) {
    const at::Tensor logits = at::full({2, classes}, std::numeric_limits<double>::quiet_NaN()).to(GetParam());
    const Result gpu = On(kGpu, logits, at::full({2}, -100, at::kLong));
    EXPECT_EQ(gpu.loss.item<float>(), 0.0f);
    EXPECT_TRUE(at::equal(gpu.gradient, at::zeros({2, classes}, GetParam())));
  }
}

TEST_P(GpuCrossEntropyTest, NanAndInfAnywhereMakeTheLossNotFinite) {
  for (const std::int64_t classes : {21, 2000}) {
    for (const float bad : {NAN, INFINITY}) {
      for (const std::int64_t at : {std::int64_t{0}, classes / 2, classes - 1}) {
        at::Tensor logits = at::zeros({2, classes}, GetParam());
        logits[1][at] = bad;
        EXPECT_FALSE(
            std::isfinite(On(kGpu, logits, at::tensor({std::int64_t{3}, std::int64_t{4}})).loss.item<float>()));
      }
    }
  }
}

TEST_P(GpuCrossEntropyTest, ATargetThatIsNoClassMakesTheLossNanAndTouchesNothingElse) {
  const at::Tensor logits = at::zeros({3, 4}, GetParam());
  for (const std::int64_t bad : {-1, 4, 1000000000, -99}) {
    const Result gpu = On(kGpu, logits, at::tensor({std::int64_t{0}, bad, std::int64_t{2}}));
    EXPECT_TRUE(std::isnan(gpu.loss.item<float>()));
    EXPECT_TRUE(gpu.gradient[1].isnan().all().item<bool>());
    EXPECT_TRUE(gpu.gradient[0].isfinite().all().item<bool>());
    EXPECT_TRUE(gpu.gradient[2].isfinite().all().item<bool>());
  }
}

TEST_P(GpuCrossEntropyTest, ReadsAnyLayout) {
  at::manual_seed(6);
  const at::Tensor wide = at::randn({9, 24}).to(GetParam());
  const at::Tensor targets = at::randint(0, 9, {24}, at::kLong);
  const Result gpu = On(kGpu, wide.t(), targets);
  const Result contiguous = On(kGpu, wide.t().contiguous(), targets);
  EXPECT_TRUE(at::equal(gpu.loss, contiguous.loss));
  EXPECT_TRUE(at::equal(gpu.gradient, contiguous.gradient));
}

// Inf, NaN, a row of -Inf, a target that is no class and one to be ignored: the same numbers are not finite.
TEST_P(GpuCrossEntropyTest, AtOnceTheSameIsNotFiniteAsInTwoPasses) {
  at::manual_seed(7);
  for (const std::int64_t classes : {21, 2000, 9000}) {
    at::Tensor logits = at::randn({8, classes}).to(GetParam());
    logits[1][3] = INFINITY;
    logits[2][classes - 1] = NAN;
    logits[3][0] = -INFINITY;
    logits[4].fill_(-INFINITY);
    logits[6].fill_(NAN);
    const at::Tensor targets = at::tensor({1, 2, 3, 0, 4, static_cast<int>(classes), -100, 5}).to(at::kLong);
    const Result two = On(kGpu, logits, targets);
    const auto [loss, gradient] = OpCrossEntropyAndGradient(
        logits.to(kGpu), targets.to(kGpu), at::ones({}, at::TensorOptions(at::kFloat).device(kGpu)), false);
    EXPECT_TRUE(std::isnan(loss.item<float>()));
    EXPECT_TRUE(at::equal(gradient.cpu().isfinite(), two.gradient.isfinite()));
    EXPECT_TRUE(at::equal(gradient.cpu().isnan(), two.gradient.isnan()));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GpuCrossEntropyTest, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(GpuCrossEntropyOfFloatsTest, ExtremeLogitsGiveFiniteLosses) {
  const at::Tensor logits =
      at::tensor({1e4f, -1e4f, 0.f, -1e30f, 1e30f, 0.f, 88.f, 89.f, -200.f, 0.f, -INFINITY, 0.f}).view({4, 3});
  const at::Tensor targets = at::tensor({std::int64_t{1}, std::int64_t{1}, std::int64_t{0}, std::int64_t{0}});
  EXPECT_TRUE(std::isfinite(On(kGpu, logits, targets).loss.item<float>()));
  ExpectTwins(logits, targets, 1);
}

TEST(GpuCrossEntropyOfFloatsTest, TheSameBitsEveryTime) {
  at::manual_seed(8);
  const at::Tensor logits = at::randn({4096, 100});
  const at::Tensor targets = at::randint(0, 100, {4096}, at::kLong);
  const Result first = On(kGpu, logits, targets);
  for (int i = 0; i < 10; ++i) {
    const Result again = On(kGpu, logits, targets);
    EXPECT_TRUE(at::equal(again.loss, first.loss));
    EXPECT_TRUE(at::equal(again.gradient, first.gradient));
  }
}

TEST(GpuCrossEntropyOfFloatsTest, NoRowsAreNoLoss) {
  const Result gpu = On(kGpu, at::zeros({0, 4}), at::zeros({0}, at::kLong));
  EXPECT_EQ(gpu.loss.item<float>(), 0.0f);
}

TEST(GpuCrossEntropyOfFloatsTest, WrongShapesTypesAndDevicesAreRefused) {
  const at::Tensor logits = at::zeros({2, 4}).to(kGpu);
  EXPECT_THROW(OpCrossEntropy(logits, at::zeros({3}, at::kLong).to(kGpu)), c10::Error);
  EXPECT_THROW(OpCrossEntropy(logits, at::zeros({2}, at::kLong)), c10::Error);
  EXPECT_THROW(OpCrossEntropy(logits.to(at::kDouble), at::zeros({2}, at::kLong).to(kGpu)), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
