#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"
#include "tests/unit/kernels/with_isa.h"

namespace mantissa::trainer {
namespace {

struct Result {
  at::Tensor loss;
  at::Tensor gradient;
};

Result Ours(const at::Tensor& logits, const at::Tensor& targets, double incoming = 1) {
  const at::Tensor leaf = logits.detach().clone().requires_grad_(true);
  const at::Tensor loss = OpCrossEntropy(leaf, targets);
  loss.backward(at::full({}, incoming, at::kFloat));
  return {loss.detach(), leaf.grad()};
}

// ATen's, in double: sum over rows, -100 ignored.
Result Reference(const at::Tensor& logits, const at::Tensor& targets, double incoming = 1) {
  const at::Tensor leaf = logits.detach().to(at::kDouble).clone().requires_grad_(true);
  const at::Tensor loss = at::cross_entropy_loss(leaf, targets, {}, at::Reduction::Sum, -100);
  loss.backward(at::full({}, incoming, at::kDouble));
  return {loss.detach(), leaf.grad()};
}

void ExpectClose(const Result& ours, const Result& reference, double tolerance) {
  EXPECT_NEAR(ours.loss.item<double>(), reference.loss.item<double>(),
              tolerance * (1 + std::fabs(reference.loss.item<double>())));
  const double worst = (ours.gradient.to(at::kDouble) - reference.gradient).abs().max().item<double>();
  EXPECT_LE(worst, tolerance * (1e-3 + reference.gradient.abs().max().item<double>()));
}

TEST(CrossEntropyTest, AgreesWithAtenInDoubleForEveryWidth) {
  for (const std::int64_t classes : {1, 2, 10, 15, 16, 17, 100, 1000, 5000}) {
    const at::Tensor logits = at::randn({33, classes}) * 4;
    at::Tensor targets = at::randint(0, classes, {33}, at::kLong);
    targets[3] = -100;
    targets[32] = -100;
    // 2e-6: an exponential of 2 ulp, and a sum of `classes` terms in FP32.
    WithEachIsa([&](cpu::Isa) { ExpectClose(Ours(logits, targets, 0.25), Reference(logits, targets, 0.25), 2e-6); });
  }
}

TEST(CrossEntropyTest, LowPrecisionLogitsAreReadExactlyAndTheirGradientIsRoundedOnce) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const at::Tensor logits = (at::randn({40, 50}) * 3).to(type);
    const at::Tensor targets = at::randint(0, 50, {40}, at::kLong);
    const double scale = 1024.0 / 40;
    const Result ours = Ours(logits, targets, scale);
    const Result reference = Reference(logits, targets, scale);
    EXPECT_EQ(ours.gradient.scalar_type(), type);
    EXPECT_EQ(ours.loss.scalar_type(), at::kFloat);
    EXPECT_NEAR(ours.loss.item<double>(), reference.loss.item<double>(), 2e-6 * reference.loss.item<double>());
    // The FP32 gradient is within 2e-6 of the exact one, so a rounded one may differ where it lies that near to a
    // halfway point: rarely, and then by one unit in the last place.
    const at::Tensor rounded = reference.gradient.to(type);
    const at::Tensor differs = ours.gradient.ne(rounded);
    EXPECT_LE(differs.sum().item<std::int64_t>(), 40 * 50 / 100);
    const double unit = type == at::kHalf ? 0x1p-10 : 0x1p-7;
    const at::Tensor error = (ours.gradient.to(at::kDouble) - reference.gradient).abs();
    EXPECT_TRUE(error.le(reference.gradient.abs() * unit * 0.51 + 1e-7).all().item<bool>());
  }
}

TEST(CrossEntropyTest, TheScaleIsAppliedBeforeRounding) {
  // softmax - one-hot is about 1e-9 off the target: FP16 holds it only once it has been scaled.
  at::Tensor logits = at::zeros({1, 3}, at::kHalf);
  logits[0][0] = 21.0;
  const at::Tensor targets = at::zeros({1}, at::kLong);
  EXPECT_EQ(Ours(logits, targets, 1).gradient[0][1].item<float>(), 0.0f);
  EXPECT_GT(Ours(logits, targets, 65536).gradient[0][1].item<float>(), 0.0f);
}

TEST(CrossEntropyTest, ExtremeLogitsGiveFiniteLosses) {
  const at::Tensor logits = at::tensor({1e4f, -1e4f, 0.f, -1e30f, 1e30f, 0.f, 88.f, 89.f, -200.f}).view({3, 3});
  const at::Tensor targets = at::tensor({std::int64_t{1}, std::int64_t{1}, std::int64_t{0}});
  WithEachIsa([&](cpu::Isa) {
    const Result ours = Ours(logits, targets);
    EXPECT_NEAR(ours.loss.item<float>(), 20000.f + 1.3132617f, 0.01f);
    EXPECT_TRUE(ours.gradient.isfinite().all().item<bool>());
    ExpectClose(ours, Reference(logits, targets), 2e-6);
  });
}

TEST(CrossEntropyTest, AMinusInfLogitIsAnImpossibleClass) {
  const at::Tensor logits = at::tensor({0.f, -INFINITY, 0.f}).view({1, 3});
  const Result ours = Ours(logits, at::zeros({1}, at::kLong));
  EXPECT_NEAR(ours.loss.item<float>(), std::log(2.f), 1e-6f);
  EXPECT_EQ(ours.gradient[0][1].item<float>(), 0.0f);
}

TEST(CrossEntropyTest, NanAndInfLogitsMakeTheLossNan) {
  for (const float bad : {NAN, INFINITY}) {
    for (const std::int64_t at : {0, 5, 20}) {
      at::Tensor logits = at::zeros({2, 21});
      logits[1][at] = bad;
      WithEachIsa([&](cpu::Isa) {
        EXPECT_FALSE(std::isfinite(Ours(logits, at::tensor({std::int64_t{3}, std::int64_t{4}})).loss.item<float>()));
      });
    }
  }
}

TEST(CrossEntropyTest, IgnoredRowsHaveNoLossAndNoGradientWhateverTheyHold) {
  at::Tensor logits = at::full({2, 4}, std::numeric_limits<float>::quiet_NaN());
  const at::Tensor ignored = at::full({2}, -100, at::kLong);
  const Result ours = Ours(logits, ignored);
  EXPECT_EQ(ours.loss.item<float>(), 0.0f);
  EXPECT_TRUE(at::equal(ours.gradient, at::zeros({2, 4})));
}

TEST(CrossEntropyTest, ATargetOutsideTheClassesIsRefused) {
  for (const std::int64_t bad : {-1, 4, 1000000, -99}) {
    EXPECT_THROW(OpCrossEntropy(at::zeros({1, 4}), at::full({1}, bad, at::kLong)), c10::Error);
  }
  EXPECT_THROW(OpCrossEntropy(at::zeros({2, 4}), at::zeros({3}, at::kLong)), c10::Error);
  EXPECT_THROW(OpCrossEntropy(at::zeros({4}), at::zeros({4}, at::kLong)), c10::Error);
}

TEST(CrossEntropyTest, NoRowsAreNoLoss) {
  EXPECT_EQ(OpCrossEntropy(at::zeros({0, 4}), at::zeros({0}, at::kLong)).item<float>(), 0.0f);
}

TEST(CrossEntropyTest, WithoutGradModeNothingIsKept) {
  const c10::AutoGradMode off(false);
  EXPECT_FALSE(OpCrossEntropy(at::zeros({1, 4}).requires_grad_(true), at::zeros({1}, at::kLong)).requires_grad());
}

// The bits of the loss and of its backward pass, whether the gradient may take the logits' place or not.
TEST(CrossEntropyAndGradientTest, IsLossAndBackwardPassAtOnce) {
  at::manual_seed(9);
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor logits = at::randn({6, 37}).to(type);
    at::Tensor targets = at::randint(0, 37, {6}, at::kLong);
    targets[2] = -100;
    const at::Tensor incoming = at::full({}, 0.125f);
    const at::Tensor leaf = logits.clone().requires_grad_(true);
    const at::Tensor loss = OpCrossEntropy(leaf, targets);
    loss.backward(incoming);
    for (const bool overwrite : {false, true}) {
      const at::Tensor given = logits.clone();
      const auto [sum, gradient] = OpCrossEntropyAndGradient(given, targets, incoming, overwrite);
      EXPECT_EQ(gradient.data_ptr() == given.data_ptr(), overwrite);
      EXPECT_TRUE(at::equal(sum, loss.detach()));
      EXPECT_TRUE(at::equal(gradient, leaf.grad()));
    }
  }
}

TEST(CrossEntropyAndGradientTest, AnIncomingGradientThatIsNotOneNumberIsRefused) {
  const at::Tensor logits = at::zeros({1, 4}), targets = at::zeros({1}, at::kLong);
  EXPECT_THROW(OpCrossEntropyAndGradient(logits, targets, at::ones({2}), false), c10::Error);
  EXPECT_THROW(OpCrossEntropyAndGradient(logits, targets, at::ones({}, at::kDouble), false), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
