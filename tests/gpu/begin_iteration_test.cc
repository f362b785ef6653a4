// The beginning of an iteration against its CPU twin.
#include <cmath>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/data/batch_plan.h"

namespace mantissa::trainer {
namespace {

using at::Tensor;

TEST(GpuBeginIterationTest, TheSeedHasTheBitsOfTheCpus) {
  for (const float scale : {1.0f, 65536.0f, 3.0f, 1e-5f}) {
    for (const double targets : {1.0, 3.0, 16.0, 1023.0, 1e9}) {
      StepState state;
      state.loss_scale = scale;
      const Tensor cpu = at::zeros({}), gpu = at::zeros({}).to(kGpu);
      OpBeginIteration({.state = BytesOf(state), .targets = targets, .seed = cpu});
      OpBeginIteration({.state = BytesOf(state).to(kGpu), .targets = targets, .seed = gpu});
      EXPECT_EQ(gpu.item<float>(), cpu.item<float>()) << scale << " / " << targets;
    }
  }
}

TEST(GpuBeginIterationTest, WhatIsNamedIsZeroAndNothingBesideIt) {
  for (const std::int64_t size : {1, 3, 4, 5, 4095, 4097, 65'536}) {
    for (const std::int64_t begin : {0, 1, 16}) {
      for (const std::int64_t chunks : {0, 1, 300}) {
        const std::int64_t stride = size + 16;
        const Tensor whole = at::full({begin + chunks * stride}, NAN, at::TensorOptions(at::kFloat).device(kGpu));
        std::vector<Chunk> zeroed;
        for (std::int64_t i = 0; i < chunks; ++i) zeroed.push_back({begin + i * stride, size, 0, 0});
        OpBeginIteration({.state = BytesOf(StepState()).to(kGpu),
                          .seed = at::zeros({}).to(kGpu),
                          .gradients = whole,
                          .zeroed = ChunkTensor(zeroed).to(kGpu)});
        EXPECT_EQ(whole.isnan().sum().item<std::int64_t>(), begin + chunks * 16) << size;
        EXPECT_EQ(whole.eq(0).sum().item<std::int64_t>(), chunks * size) << size;
        if (chunks == 1) {
          EXPECT_TRUE(whole.narrow(0, begin, size).eq(0).all().item<bool>()) << size;
        }
      }
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
    OpBeginIteration(
        {.state = BytesOf(state).to(kGpu), .seed = at::zeros({}).to(kGpu), .skipped = skipped, .window = window});
    EXPECT_EQ(window.item<std::int64_t>(), plan.WindowAfter(iteration));
  }
}

TEST(GpuBeginIterationTest, TensorsOfAnotherDeviceAreRefused) {
  const Tensor state = BytesOf(StepState()).to(kGpu), seed = at::zeros({}).to(kGpu);
  const Tensor skipped = at::zeros({0, 2}, at::kLong).to(kGpu), window = at::zeros({1}, at::kLong);
  const Tensor gradients = at::zeros({4}), chunks = ChunkTensor({{0, 4, 0, 0}});
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = at::zeros({})}), c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .gradients = gradients, .zeroed = chunks.to(kGpu)}),
               c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .gradients = gradients.to(kGpu), .zeroed = chunks}),
               c10::Error);
  EXPECT_THROW(OpBeginIteration({.state = state, .seed = seed, .skipped = skipped, .window = window}), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
