#include "worker/data/batch_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

std::vector<std::int64_t> Shuffled(std::uint64_t seed, std::int64_t epoch, std::int64_t samples) {
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < samples; ++i) order.push_back(ShuffledIndex(seed, epoch, samples, i));
  return order;
}

std::vector<std::int64_t> Window(const BatchPlan& plan, std::int64_t window) {
  std::vector<std::int64_t> all;
  std::vector<std::int64_t> part;
  for (std::int64_t m = 0; m < plan.MicroBatches(window); ++m) {
    plan.MicroBatch(window, m, part);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

TEST(ShuffledIndexTest, IsAPermutationForEverySize) {
  for (std::int64_t samples : {1, 2, 3, 4, 5, 7, 8, 9, 31, 64, 65, 1000, 1437}) {
    std::vector<std::int64_t> order = Shuffled(3, 1, samples);
    std::sort(order.begin(), order.end());
    std::vector<std::int64_t> all(static_cast<std::size_t>(samples));
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all) << samples;
  }
}

TEST(ShuffledIndexTest, SeedAndEpochEachChangeTheOrder) {
  const auto order = Shuffled(1, 0, 1437);
  EXPECT_EQ(order, Shuffled(1, 0, 1437));
  EXPECT_NE(order, Shuffled(2, 0, 1437));
  EXPECT_NE(order, Shuffled(1, 1, 1437));
}

TEST(ShuffledIndexTest, EveryOrderOfThreeIsAboutAsLikely) {
  std::map<std::vector<std::int64_t>, int> counts;
  constexpr int kEpochs = 6000;
  for (int epoch = 0; epoch < kEpochs; ++epoch) ++counts[Shuffled(11, epoch, 3)];
  ASSERT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, kEpochs / 6, 250);
}

TEST(ShuffledIndexTest, EverySampleIsAboutAsOftenInFront) {
  std::vector<int> first(10);
  constexpr int kEpochs = 10000;
  for (int epoch = 0; epoch < kEpochs; ++epoch) ++first[static_cast<std::size_t>(ShuffledIndex(5, epoch, 10, 0))];
  for (const int count : first) EXPECT_NEAR(count, kEpochs / 10, 200);
}

TEST(ShuffledIndexTest, WorksForTwoToTheThirtyOneSamples) {
  const std::int64_t samples = (std::int64_t{1} << 31) - 1;
  std::set<std::int64_t> seen;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const std::int64_t index = ShuffledIndex(1, 0, samples, samples - 1 - i);
    EXPECT_GE(index, 0);
    EXPECT_LT(index, samples);
    EXPECT_TRUE(seen.insert(index).second);
  }
}

// Of other programs, too: tests/gpu/test_sample_order.py holds the same windows. Checkpoints of every release count on
// them.
TEST(BatchPlanTest, TheOrderIsWhatItHasAlwaysBeen) {
  const BatchPlan plan({.samples = 1437, .batch_size = 8, .seed = 7});
  EXPECT_EQ(Window(plan, 0), (std::vector<std::int64_t>{1133, 184, 928, 1275, 1365, 813, 1413, 1305}));
  EXPECT_EQ(Window(plan, 179), (std::vector<std::int64_t>{1173, 1257, 768, 542, 913}));
  EXPECT_EQ(Window(plan, 180), (std::vector<std::int64_t>{1175, 1430, 992, 1142, 151, 137, 634, 1082}));
  EXPECT_EQ(Window(BatchPlan({.samples = 3, .batch_size = 2, .seed = ~std::uint64_t{0}}), 5),
            (std::vector<std::int64_t>{1}));
}

TEST(BatchPlanTest, AnEpochReadsEverySampleOnce) {
  const BatchPlan plan({.samples = 1437, .batch_size = 64, .accumulation = 1, .seed = 4});
  ASSERT_EQ(plan.windows_per_epoch(), 23);
  for (const std::int64_t epoch : {0, 1}) {
    std::set<std::int64_t> seen;
    for (std::int64_t w = 0; w < 23; ++w) {
      for (const std::int64_t index : Window(plan, epoch * 23 + w)) EXPECT_TRUE(seen.insert(index).second);
    }
    EXPECT_EQ(seen.size(), 1437u);
  }
  EXPECT_NE(Window(plan, 0), Window(plan, 23));
}

TEST(BatchPlanTest, ALastWindowWithFewerSamplesIsAWindow) {
  const BatchPlan plan({.samples = 10, .batch_size = 4});
  EXPECT_EQ(plan.windows_per_epoch(), 3);
  EXPECT_EQ(plan.WindowSize(0), 4);
  EXPECT_EQ(plan.WindowSize(2), 2);
  EXPECT_EQ(plan.WindowSize(3), 4);
  EXPECT_EQ(plan.WindowSize(5), 2);
}

TEST(BatchPlanTest, FewerSamplesThanAWindowMakeOneWindow) {
  const BatchPlan plan({.samples = 3, .batch_size = 64, .accumulation = 2});
  EXPECT_EQ(plan.windows_per_epoch(), 1);
  EXPECT_EQ(plan.WindowSize(7), 3);
  EXPECT_EQ(plan.MicroBatches(7), 1);
}

TEST(BatchPlanTest, MicroBatchesCutTheWindowUnevenlyWhereTheyMust) {
  const BatchPlan plan({.samples = 100, .batch_size = 10, .accumulation = 4, .seed = 1});
  EXPECT_EQ(plan.micro_batch_size(), 3);
  EXPECT_EQ(plan.MicroBatches(0), 4);
  std::vector<std::int64_t> part;
  plan.MicroBatch(0, 3, part);
  EXPECT_EQ(part.size(), 1u);
}

TEST(BatchPlanTest, AccumulationDoesNotChangeTheSamplesOfAWindow) {
  const BatchPlan whole({.samples = 1437, .batch_size = 64, .accumulation = 1, .seed = 9});
  const BatchPlan cut({.samples = 1437, .batch_size = 64, .accumulation = 5, .seed = 9});
  for (std::int64_t window = 0; window < 30; ++window) EXPECT_EQ(Window(whole, window), Window(cut, window));
}

TEST(BatchPlanTest, AWindowIsTheSameWhateverWasReadBefore) {
  const BatchPlan a({.samples = 50, .batch_size = 8, .seed = 2});
  const BatchPlan b({.samples = 50, .batch_size = 8, .seed = 2});
  for (std::int64_t w = 0; w < 9; ++w) Window(a, w);
  EXPECT_EQ(Window(a, 9), Window(b, 9));
}

TEST(BatchPlanTest, IterationsPassOverTheWindowsThatAreLeftOut) {
  BatchPlanOptions options{.samples = 10, .batch_size = 4};
  EXPECT_EQ(BatchPlan(options).WindowAfter(5), 5);
  v1::IndexRange& left_out = *options.lineage.add_skipped_windows();
  left_out.set_first(1);
  left_out.set_last(2);
  const BatchPlan plan(options);
  EXPECT_EQ(plan.WindowAfter(0), 0);
  EXPECT_EQ(plan.WindowAfter(1), 3);
  EXPECT_EQ(Window(plan, 3), Window(BatchPlan({.samples = 10, .batch_size = 4}), 3))
      << "no window changes what it holds";
}

}  // namespace
}  // namespace mantissa::trainer
