#include <cmath>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

using at::Tensor;

StepState At(std::int64_t iteration) {
  StepState state;
  state.iteration = iteration;
  state.loss_scale = 1024;
  return state;
}

TEST(BeginIterationTest, EverythingIsReadyAtOnce) {
  const Tensor seed = at::zeros({}), gradients = at::full({1001}, NAN), window = at::zeros({1}, at::kLong);
  OpBeginIteration({.state = BytesOf(At(5)),
                    .targets = 3,
                    .seed = seed,
                    .gradients = gradients,
                    .zeroed = ChunkTensor({{0, 1001, 0, 0}}),
                    .skipped = at::tensor({3, 4}, at::kLong).view({1, 2}),
                    .window = window});
  EXPECT_EQ(seed.item<float>(), static_cast<float>(1024.0 / 3));
  EXPECT_TRUE(at::equal(gradients, at::zeros({1001})));
  EXPECT_EQ(window.item<std::int64_t>(), 7);
}

TEST(BeginIterationTest, OnlyWhatIsNamedBecomesZero) {
  const Tensor gradients = at::ones({10});
  OpBeginIteration({.state = BytesOf(At(0)),
                    .seed = at::zeros({}),
                    .gradients = gradients,
                    .zeroed = ChunkTensor({{1, 3, 0, 0}, {8, 2, 5, 0}})});
  EXPECT_TRUE(at::equal(gradients, at::tensor({1.f, 0.f, 0.f, 0.f, 1.f, 1.f, 1.f, 1.f, 0.f, 0.f})));
  OpBeginIteration({.state = BytesOf(At(0)),
                    .seed = at::zeros({}),
                    .gradients = gradients.fill_(1),
                    .zeroed = at::zeros({0, 4}, at::kLong)});
  EXPECT_TRUE(at::equal(gradients, at::ones({10})));
}

TEST(BeginIterationTest, WhatIsNotGivenIsLeftOut) {
  const Tensor seed = at::zeros({});
  OpBeginIteration({.state = BytesOf(At(5)), .targets = 64, .seed = seed});
  EXPECT_EQ(seed.item<float>(), 16);
}

TEST(BeginIterationTest, WhatMakesNoSenseIsRefused) {
  const Tensor seed = at::zeros({}), window = at::zeros({1}, at::kLong), none = at::zeros({0, 2}, at::kLong);
  const Tensor state = BytesOf(At(0)), flat = at::zeros({4}), chunks = ChunkTensor({{0, 4, 0, 0}});
  EXPECT_THROW(OpBeginIteration({.state = state, .targets = 0, .seed = seed}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = at::zeros({2})}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = at::zeros({}, at::kDouble)}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .gradients = at::zeros({2, 2}), .zeroed = chunks}),
               c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .gradients = flat}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .zeroed = chunks}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .gradients = flat, .zeroed = none}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .skipped = none}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .window = window}), c10::Error);
  OpBeginIteration(
      {.state = state, .seed = seed, .gradients = flat, .zeroed = chunks, .skipped = none, .window = window});
}

}  // namespace
}  // namespace mantissa::trainer
