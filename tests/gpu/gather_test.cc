// Batches and keys that the GPU finds by itself are those of the CPU.
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/data/batch_plan.h"
#include "worker/data/feature_dataset.h"
#include "worker/data/token_dataset.h"

namespace mantissa::trainer {
namespace {

void ExpectSame(Dataset& data, const BatchPlan& plan) {
  data.MoveTo(kGpu);
  const at::Tensor order = BytesOf(plan.order()).to(kGpu);
  std::vector<std::int64_t> indices;
  for (std::int64_t window = 0; window < 2 * plan.windows_per_epoch(); ++window) {
    const at::Tensor number = at::full({1}, window, at::kLong).to(kGpu);
    for (std::int64_t m = 0; m < plan.MicroBatches(window); ++m) {
      plan.MicroBatch(window, m, indices);
      Batch expected, batch;
      data.Gather(indices, expected);
      ASSERT_TRUE(data.GatherPlaces(
          {order, number, m * plan.micro_batch_size(), static_cast<std::int64_t>(indices.size())}, batch));
      EXPECT_TRUE(batch.input.is_cuda());
      EXPECT_TRUE(at::equal(batch.input, expected.input)) << "window " << window << " micro-batch " << m;
      EXPECT_TRUE(at::equal(batch.target, expected.target)) << "window " << window << " micro-batch " << m;
      EXPECT_EQ(batch.targets, expected.targets);
    }
  }
}

TEST(GpuGatherTest, FeaturesOfAnySize) {
  at::manual_seed(3);
  for (const std::int64_t width : {1, 7, 784, 4096, 4097, 20000}) {
    FeatureDataset data(at::randn({101, width}), at::arange(101), 101);
    ExpectSame(data, BatchPlan({.samples = 101, .batch_size = 16, .accumulation = 3, .seed = 9}));
  }
}

TEST(GpuGatherTest, TokensOfBothWidthsAlsoWhereSequencesOverlap) {
  for (const at::ScalarType type : {at::kByte, at::kInt}) {
    for (const std::int64_t context : {1, 33, 5000}) {
      TokenDataset data(at::arange(100 * 3 + context + 1).remainder(251).to(type), 251, context, 3);
      ExpectSame(data, BatchPlan({.samples = data.size(), .batch_size = 12, .seed = 4}));
    }
  }
}

TEST(GpuGatherTest, DataThatStayOnTheHostAreDelivered) {
  at::manual_seed(3);
  FeatureDataset resident(at::randn({50, 9}), at::arange(50), 50);
  at::manual_seed(3);
  FeatureDataset far(at::randn({50, 9}), at::arange(50), 50);
  resident.MoveTo(kGpu);
  far.DeliverTo(kGpu);
  Batch expected, batch;
  resident.Gather(std::vector<std::int64_t>{4, 49, 0}, expected);
  far.Gather(std::vector<std::int64_t>{4, 49, 0}, batch);
  EXPECT_TRUE(at::equal(batch.input, expected.input));
  EXPECT_TRUE(at::equal(batch.target, expected.target));
  EXPECT_EQ(batch.targets, 3);
}

TEST(GpuDropoutTest, AnIterationThatATensorHoldsDropsWhatTheNumberDrops) {
  const at::Tensor x = at::randn({1001}).to(kGpu).requires_grad_(true);
  const at::Tensor window = at::full({1}, 77, at::kLong).to(kGpu);
  const at::Tensor y = OpDropoutOfWindow(x, 0.3, DropoutKey(), window);
  EXPECT_TRUE(at::equal(y, OpDropout(x, 0.3, {.iteration = 77})));
  y.backward(at::ones_like(y));
  EXPECT_TRUE(at::equal(x.grad(), OpDropout(at::ones({1001}).to(kGpu), 0.3, {.iteration = 77})));
}

}  // namespace
}  // namespace mantissa::trainer
