#include "worker/trainer/graph/record_ring.h"

#include <atomic>
#include <thread>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/kernels/ops.h"
#include "tests/unit/trainer/fake_recorder.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kParameters = 5;
constexpr std::int64_t kRecords = 20'000;

GradientStats* StatsOf(const IterationState& iteration) {
  return static_cast<GradientStats*>(iteration.stats().data_ptr());
}

StepState& StateOf(const IterationState& iteration) { return *static_cast<StepState*>(iteration.state().data_ptr()); }

class RecordRingTest : public ::testing::Test {
 protected:
  FakeRecorder device_;
  IterationState iteration_{ScalerSettings(), ChunkTensor({{0, 8, 0, 0}}), kParameters, at::kCPU};
};

// A device that publishes as fast as it may, and a host that reads each record whole or not at all.
TEST_F(RecordRingTest, EveryRecordArrivesOnceWholeAndInOrder) {
  device_.busy = true;
  RecordRing ring(device_.functions(), iteration_, 4);
  std::atomic<std::int64_t> started = 0;
  std::thread playing([&] {
    for (std::int64_t i = 1; i <= kRecords; ++i) {
      while (started.load(std::memory_order_acquire) < i) std::this_thread::yield();
      StepState& state = StateOf(iteration_);
      state.iteration = i;
      state.loss = static_cast<double>(i) * 0.5;
      state.found_inf = i % 3 == 0 ? 1.0f : 0.0f;
      for (std::int64_t p = 0; p < kParameters; ++p) StatsOf(iteration_)[p].inf_count = i + p;
      ring.Publish();
    }
  });
  std::int64_t expected = 0;
  for (std::int64_t i = 1; i <= kRecords; ++i) {
    while (ring.pending() < 4 && expected < kRecords) {
      ring.Expect();
      started.store(++expected, std::memory_order_release);
    }
    const StepRecord& record = ring.Await();
    ASSERT_EQ(record.sequence, static_cast<std::uint64_t>(i));
    ASSERT_EQ(record.state.iteration, i);
    ASSERT_EQ(record.state.loss, static_cast<double>(i) * 0.5);
    if (record.state.found_inf == 0) continue;
    ASSERT_EQ(ring.stats().size(), static_cast<std::size_t>(kParameters));
    for (std::int64_t p = 0; p < kParameters; ++p) {
      ASSERT_EQ(ring.stats()[static_cast<std::size_t>(p)].inf_count, i + p);
    }
  }
  playing.join();
  EXPECT_EQ(ring.pending(), 0);
}

TEST_F(RecordRingTest, OnlyASkippedIterationBringsWhatItsGradientsShowed) {
  RecordRing ring(device_.functions(), iteration_, 1);
  StatsOf(iteration_)[2].nan_count = 7;
  ring.Publish();
  ring.Expect();
  ring.Await();
  EXPECT_EQ(ring.stats()[2].nan_count, 0);
  StateOf(iteration_).found_inf = 1;
  ring.Publish();
  ring.Expect();
  ring.Await();
  EXPECT_EQ(ring.stats()[2].nan_count, 7);
}

TEST_F(RecordRingTest, NeverMoreArePendingThanThereAreSlots) {
  RecordRing ring(device_.functions(), iteration_, 2);
  ring.Expect();
  ring.Expect();
  EXPECT_THROW(ring.Expect(), c10::Error);
}

TEST_F(RecordRingTest, WithNothingPendingThereIsNothingToWaitFor) {
  RecordRing ring(device_.functions(), iteration_, 2);
  EXPECT_THROW(ring.Await(), c10::Error);
}

TEST(PublishRecordTest, ARingThatIsNotOfWholeSlotsIsRefused) {
  const IterationState iteration(ScalerSettings(), ChunkTensor({{0, 8, 0, 0}}), kParameters, at::kCPU);
  const at::Tensor cursor = at::zeros({1}, at::kLong);
  const auto op = FindOp<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
      "mantissa::publish_record");
  const std::int64_t bytes = RecordBytes(kParameters);
  op.call(iteration.state(), iteration.stats(), cursor, at::zeros({2 * bytes}, at::kByte));
  for (const std::int64_t size : {std::int64_t{0}, bytes - 1, bytes + 1}) {
    EXPECT_THROW(op.call(iteration.state(), iteration.stats(), cursor, at::zeros({size}, at::kByte)), c10::Error);
  }
  EXPECT_THROW(op.call(iteration.state(), iteration.stats(), at::zeros({1}, at::kInt), at::zeros({bytes}, at::kByte)),
               c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
