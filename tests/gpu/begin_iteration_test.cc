// The beginning of an iteration against its CPU twin.
#include <cmath>
#include <optional>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/data/batch_plan.h"

namespace mantissa::trainer {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

void Begin(const Tensor& state, double targets, const Tensor& seed, const Optional& gradients = std::nullopt,
           const Optional& skipped = std::nullopt, const Optional& window = std::nullopt) {
  FindOp<void(const Tensor&, double, const Tensor&, const Optional&, const Optional&, const Optional&)>(
      "mantissa::begin_iteration")
      .call(state, targets, seed, gradients, skipped, window);
}

TEST(GpuBeginIterationTest, TheSeedHasTheBitsOfTheCpus) {
  for (const float scale : {1.0f, 65536.0f, 3.0f, 1e-5f}) {
    for (const double targets : {1.0, 3.0, 16.0, 1023.0, 1e9}) {
      StepState state;
      state.loss_scale = scale;
      const Tensor cpu = at::zeros({}), gpu = at::zeros({}).to(kGpu);
      Begin(BytesOf(state), targets, cpu);
      Begin(BytesOf(state).to(kGpu), targets, gpu);
      EXPECT_EQ(gpu.item<float>(), cpu.item<float>()) << scale << " / " << targets;
    }
  }
}

TEST(GpuBeginIterationTest, EveryGradientIsZeroAndNothingBesideThem) {
  for (const std::int64_t size : {1, 3, 4, 5, 4095, 4097, 100'001, 20'000'003}) {
    for (const std::int64_t begin : {0, 1}) {
      const Tensor whole = at::full({size + 2}, NAN, at::TensorOptions(at::kFloat).device(kGpu));
      Begin(BytesOf(StepState()).to(kGpu), 1, at::zeros({}).to(kGpu), whole.narrow(0, begin, size));
      EXPECT_EQ(whole.isnan().sum().item<std::int64_t>(), 2) << size;
      EXPECT_TRUE(whole.narrow(0, begin, size).eq(0).all().item<bool>()) << size;
    }
  }
}

TEST(GpuBeginIterationTest, TheWindowIsThePlansAlsoWhereWindowsAreLeftOut) {
  BatchPlanOptions options{.samples = 50, .batch_size = 7};
  v1::IndexRange& range = *options.lineage.add_skipped_windows();
  range.set_first(3);
  range.set_last(5);
  const BatchPlan plan(options);
  const Tensor skipped = at::tensor({3, 5}, at::kLong).view({1, 2}).to(kGpu);
  const Tensor window = at::zeros({1}, at::kLong).to(kGpu);
  for (std::int64_t iteration = 0; iteration < 12; ++iteration) {
    StepState state;
    state.iteration = iteration;
    Begin(BytesOf(state).to(kGpu), 1, at::zeros({}).to(kGpu), std::nullopt, skipped, window);
    EXPECT_EQ(window.item<std::int64_t>(), plan.WindowAfter(iteration));
  }
}

TEST(GpuBeginIterationTest, TensorsOfAnotherDeviceAreRefused) {
  const Tensor state = BytesOf(StepState()).to(kGpu), seed = at::zeros({}).to(kGpu);
  const Tensor skipped = at::zeros({0, 2}, at::kLong).to(kGpu), window = at::zeros({1}, at::kLong);
  EXPECT_THROW(Begin(state, 1, at::zeros({})), c10::Error);
  EXPECT_THROW(Begin(state, 1, seed, at::zeros({4})), c10::Error);
  EXPECT_THROW(Begin(state, 1, seed, std::nullopt, skipped, window), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
