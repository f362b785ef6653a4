// Batches that ops put together by themselves: the samples of the batch plan, in its order.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/kernels/ops.h"
#include "worker/data/batch_plan.h"
#include "worker/data/feature_dataset.h"
#include "worker/data/token_dataset.h"

namespace mantissa::trainer {
namespace {

at::Tensor Number(std::int64_t number) { return at::full({1}, number, at::kLong); }

// `samples` rows of `width` features, each with its own number in all places, and labels that tell them apart.
FeatureDataset Rows(std::int64_t samples, std::int64_t width) {
  const at::Tensor numbers = at::arange(samples);
  return {numbers.to(at::kFloat).unsqueeze(1).expand({samples, width}).contiguous(), numbers.remainder(7), 7};
}

TokenDataset Tokens(std::int64_t samples, std::int64_t context, std::int64_t stride, at::ScalarType type) {
  const std::int64_t count = (samples - 1) * stride + context + 1;
  return {at::arange(count).remainder(251).to(type), 251, context, stride};
}

// Every micro-batch of a window by the plan's indices, and by its places.
void ExpectSameBatches(const Dataset& data, const BatchPlan& plan, std::int64_t window) {
  const at::Tensor order = BytesOf(plan.order());
  std::vector<std::int64_t> indices;
  for (std::int64_t m = 0; m < plan.MicroBatches(window); ++m) {
    plan.MicroBatch(window, m, indices);
    Batch expected;
    data.Gather(indices, expected);
    Batch batch;
    ASSERT_TRUE(data.GatherPlaces(
        {order, Number(window), m * plan.micro_batch_size(), static_cast<std::int64_t>(indices.size())}, batch));
    EXPECT_TRUE(at::equal(batch.input, expected.input)) << "window " << window << " micro-batch " << m;
    EXPECT_TRUE(at::equal(batch.target, expected.target)) << "window " << window << " micro-batch " << m;
    EXPECT_EQ(batch.targets, expected.targets);
  }
}

TEST(GatherTest, EveryWindowOfSeveralPassesHasTheSamplesOfThePlan) {
  for (const std::int64_t samples : {1, 2, 3, 7, 64, 65, 101}) {
    for (const std::int32_t batch_size : {1, 4, 10}) {
      for (const std::int32_t accumulation : {1, 3}) {
        if (accumulation > batch_size) continue;
        SCOPED_TRACE(testing::Message() << samples << " by " << batch_size << " in " << accumulation);
        const BatchPlan plan(
            {.samples = samples, .batch_size = batch_size, .accumulation = accumulation, .seed = 1ull << 40});
        const FeatureDataset rows = Rows(samples, 5);
        const TokenDataset bytes = Tokens(samples, 6, 6, at::kByte);
        const TokenDataset overlapping = Tokens(samples, 6, 2, at::kInt);
        for (std::int64_t window = 0; window < 3 * plan.windows_per_epoch(); ++window) {
          for (const Dataset* data : {static_cast<const Dataset*>(&rows), static_cast<const Dataset*>(&bytes),
                                      static_cast<const Dataset*>(&overlapping)}) {
            ExpectSameBatches(*data, plan, window);
          }
        }
      }
    }
  }
}

TEST(GatherTest, AWindowFarOutIsFoundToo) {
  const BatchPlan plan({.samples = 1001, .batch_size = 64, .seed = 3});
  ExpectSameBatches(Rows(1001, 3), plan, std::int64_t{1} << 40);
}

// What a halted run may be asked for: nothing is kept of it, but nothing outside of the data may be read.
TEST(GatherTest, PlacesBehindTheEndOfAWindowAreSamplesAllTheSame) {
  const BatchPlan plan({.samples = 7, .batch_size = 5});
  const FeatureDataset rows = Rows(7, 2);
  Batch batch;
  ASSERT_TRUE(rows.GatherPlaces({BytesOf(plan.order()), Number(1), 0, 50}, batch));
  EXPECT_TRUE(batch.input.ge(0).logical_and(batch.input.lt(7)).all().item<bool>());
}

TEST(GatherTest, BatchesAreNewTensors) {
  const BatchPlan plan({.samples = 8, .batch_size = 4});
  const FeatureDataset rows = Rows(8, 2);
  Batch batch;
  ASSERT_TRUE(rows.GatherPlaces({BytesOf(plan.order()), Number(0), 0, 4}, batch));
  const Batch kept = batch;
  ASSERT_TRUE(rows.GatherPlaces({BytesOf(plan.order()), Number(1), 0, 4}, batch));
  EXPECT_NE(kept.input.data_ptr(), batch.input.data_ptr());
}

TEST(GatherTest, DataThatAreKeptElsewhereHaveNoSuchWay) {
  FeatureDataset rows = Rows(8, 2);
  rows.DeliverTo(at::kMeta);
  TokenDataset tokens = Tokens(8, 2, 2, at::kByte);
  tokens.DeliverTo(at::kMeta);
  Batch batch;
  EXPECT_FALSE(rows.GatherPlaces({BytesOf(SampleOrder()), Number(0), 0, 1}, batch));
  EXPECT_FALSE(tokens.GatherPlaces({BytesOf(SampleOrder()), Number(0), 0, 1}, batch));
}

TEST(GatherTest, DataThatStayWhereTheyAreDeliverBatchesElsewhere) {
  FeatureDataset rows = Rows(8, 2);
  rows.DeliverTo(at::kMeta);
  TokenDataset tokens = Tokens(8, 3, 3, at::kByte);
  tokens.DeliverTo(at::kMeta);
  Batch batch;
  rows.Gather(std::vector<std::int64_t>{1, 5}, batch);
  EXPECT_TRUE(batch.input.is_meta() && batch.target.is_meta());
  EXPECT_EQ(batch.input.sizes(), at::IntArrayRef({2, 2}));
  EXPECT_EQ(batch.targets, 2);
  tokens.Gather(std::vector<std::int64_t>{1, 5}, batch);
  EXPECT_TRUE(batch.input.is_meta() && batch.target.is_meta());
  EXPECT_EQ(batch.targets, 6);
}

TEST(GatherTest, DataSayHowLargeTheyAre) {
  EXPECT_EQ(Rows(8, 2).bytes(), 8 * 2 * 4 + 8 * 8);
  EXPECT_EQ(Tokens(8, 3, 3, at::kByte).bytes(), 7 * 3 + 4);
}

TEST(NextWindowTest, IsThePlansAlsoWhereWindowsAreLeftOut) {
  BatchPlanOptions options{.samples = 50, .batch_size = 7};
  const auto expect_same = [&] {
    const BatchPlan plan(options);
    std::vector<std::int64_t> ranges;
    for (const v1::IndexRange& range : options.lineage.skipped_windows()) {
      ranges.push_back(range.first());
      ranges.push_back(range.last());
    }
    const at::Tensor skipped = at::empty({static_cast<std::int64_t>(ranges.size()) / 2, 2}, at::kLong);
    std::copy(ranges.begin(), ranges.end(), skipped.mutable_data_ptr<std::int64_t>());
    const at::Tensor window = Number(-1);
    for (std::int64_t iteration = 0; iteration < 40; ++iteration) {
      StepState state;
      state.iteration = iteration;
      OpBeginIteration({.state = BytesOf(state), .seed = at::zeros({}), .skipped = skipped, .window = window});
      EXPECT_EQ(window.item<std::int64_t>(), plan.WindowAfter(iteration)) << iteration;
    }
  };
  expect_same();
  for (const auto& [first, last] : {std::pair{0, 0}, {3, 5}, {9, 9}, {20, 33}}) {
    v1::IndexRange& range = *options.lineage.add_skipped_windows();
    range.set_first(first);
    range.set_last(last);
    expect_same();
  }
}

TEST(GatherTest, TensorsThatDoNotFitOneAnotherAreRefused) {
  const auto features =
      FindOp<void(const at::Tensor&, const at::Tensor&, std::int64_t, const at::Tensor&, const at::Tensor&,
                  const at::Tensor&, const at::Tensor&)>("mantissa::gather_features");
  const auto tokens = FindOp<void(const at::Tensor&, const at::Tensor&, std::int64_t, const at::Tensor&, std::int64_t,
                                  const at::Tensor&, const at::Tensor&)>("mantissa::gather_tokens");
  const at::Tensor order = BytesOf(SampleOrder{.samples = 4, .batch_size = 2, .windows_per_epoch = 2});
  const at::Tensor rows = at::zeros({4, 3});
  const at::Tensor labels = at::zeros({4}, at::kLong);
  const at::Tensor input = at::empty({2, 3});
  const at::Tensor target = at::empty({2}, at::kLong);
  features.call(order, Number(0), 0, rows, labels, input, target);
  EXPECT_THROW(features.call(order.narrow(0, 0, 8), Number(0), 0, rows, labels, input, target), c10::Error);
  EXPECT_THROW(features.call(order, at::zeros({2}, at::kLong), 0, rows, labels, input, target), c10::Error);
  EXPECT_THROW(features.call(order, Number(0), 0, rows, labels.narrow(0, 0, 3), input, target), c10::Error);
  EXPECT_THROW(features.call(order, Number(0), 0, rows, labels, at::empty({2, 4}), target), c10::Error);
  EXPECT_THROW(features.call(order, Number(0), 0, rows, labels, input, at::empty({3}, at::kLong)), c10::Error);
  const at::Tensor text = at::zeros({9}, at::kByte);
  const at::Tensor sequences = at::empty({2, 2}, at::kLong);
  const at::Tensor successors = at::empty({4}, at::kLong);
  tokens.call(order, Number(0), 0, text, 2, sequences, successors);
  EXPECT_THROW(tokens.call(order, Number(0), 0, text, 0, sequences, successors), c10::Error);
  EXPECT_THROW(tokens.call(order, Number(0), 0, text.to(at::kLong), 2, sequences, successors), c10::Error);
  EXPECT_THROW(tokens.call(order, Number(0), 0, text.narrow(0, 0, 2), 2, sequences, successors), c10::Error);
  EXPECT_THROW(tokens.call(order, Number(0), 0, text, 2, sequences, at::empty({3}, at::kLong)), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
