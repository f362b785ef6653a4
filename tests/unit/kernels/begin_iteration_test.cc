#include <cmath>
#include <optional>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

void Begin(const StepState& state, double targets, const Tensor& seed, const Optional& gradients = std::nullopt,
           const Optional& skipped = std::nullopt, const Optional& window = std::nullopt) {
  FindOp<void(const Tensor&, double, const Tensor&, const Optional&, const Optional&, const Optional&)>(
      "mantissa::begin_iteration")
      .call(BytesOf(state), targets, seed, gradients, skipped, window);
}

StepState At(std::int64_t iteration) {
  StepState state;
  state.iteration = iteration;
  state.loss_scale = 1024;
  return state;
}

TEST(BeginIterationTest, EverythingIsReadyAtOnce) {
  const Tensor seed = at::zeros({}), gradients = at::full({1001}, NAN), window = at::zeros({1}, at::kLong);
  Begin(At(5), 3, seed, gradients, at::tensor({3, 4}, at::kLong).view({1, 2}), window);
  EXPECT_EQ(seed.item<float>(), static_cast<float>(1024.0 / 3));
  EXPECT_TRUE(at::equal(gradients, at::zeros({1001})));
  EXPECT_EQ(window.item<std::int64_t>(), 7);
}

TEST(BeginIterationTest, WhatIsNotGivenIsLeftOut) {
  const Tensor seed = at::zeros({});
  Begin(At(5), 64, seed);
  EXPECT_EQ(seed.item<float>(), 16);
}

TEST(BeginIterationTest, WhatMakesNoSenseIsRefused) {
  const Tensor seed = at::zeros({}), window = at::zeros({1}, at::kLong), none = at::zeros({0, 2}, at::kLong);
  EXPECT_THROW(Begin(At(0), 0, seed), c10::Error);
  EXPECT_THROW(Begin(At(0), 1, at::zeros({2})), c10::Error);
  EXPECT_THROW(Begin(At(0), 1, at::zeros({}, at::kDouble)), c10::Error);
  EXPECT_THROW(Begin(At(0), 1, seed, at::zeros({2, 2})), c10::Error);
  EXPECT_THROW(Begin(At(0), 1, seed, std::nullopt, none), c10::Error);
  EXPECT_THROW(Begin(At(0), 1, seed, std::nullopt, std::nullopt, window), c10::Error);
  Begin(At(0), 1, seed, std::nullopt, none, window);
}

}  // namespace
}  // namespace mantissa::trainer
