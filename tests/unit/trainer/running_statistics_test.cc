// The statistics of batch norm over whole iterations: they are part of a run's state, and move only with a step that is
// applied.
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/evaluate.h"
#include "worker/trainer/run_checkpoints.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kMean[] = "layers.1.running_mean";
constexpr char kVariance[] = "layers.1.running_var";
constexpr char kModel[] =
    "model { sequential { layers { linear { out: 5 bias: false } } layers { batch_norm1d { momentum: 0.25 } } "
    "layers { relu {} } layers { linear {} } } } ";

at::Tensor Buffer(SmallRun& run, const std::string& name) {
  for (const NamedTensor& buffer : run.state().model().buffers()) {
    if (buffer.name == name) return buffer.tensor.clone();
  }
  ADD_FAILURE() << "no buffer " << name;
  return {};
}

// 76 images in 3 classes.
std::unique_ptr<Dataset> ImageData() {
  at::manual_seed(23);
  return std::make_unique<FeatureDataset>(at::randn({76, 8, 8}), at::arange(76).remainder(3), 3);
}

void SetScale(SmallRun& run, float scale) {
  StepState step = run.state().step_state();
  step.loss_scale = scale;
  run.state().iteration_state().WriteState(step);
}

TEST(RunningStatisticsOfARunTest, AreThoseOfItsMicroBatchesInOrder) {
  SmallRun run(std::string(kModel) + "batch_size: 8 accumulation: 2");
  const at::Tensor weight = run.state().model().parameters().at("layers.0.weight").detach().clone();
  at::Tensor mean = at::zeros({5}), variance = at::ones({5});
  std::vector<std::int64_t> indices;
  for (std::int64_t m = 0; m < 2; ++m) {
    run.plan().MicroBatch(0, m, indices);
    Batch batch;
    run.data().Gather(indices, batch);
    const at::Tensor x = batch.input.matmul(weight.t());
    mean = mean * 0.75 + x.mean(0) * 0.25;
    variance = variance * 0.75 + x.var(0, /*unbiased=*/true) * 0.25;
  }
  run.TrainTo(1);
  EXPECT_TRUE(at::allclose(Buffer(run, kMean), mean, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(Buffer(run, kVariance), variance, 1e-5, 1e-6));
}

TEST(RunningStatisticsOfARunTest, ASkippedIterationLeavesThemBitIdentical) {
  for (const std::string accumulation : {"1", "3"}) {
    SmallRun run(std::string(kModel) +
                 "precision { mode: FP16 loss_scale { init: 64 } } accumulation: " + accumulation);
    run.TrainTo(3);
    const auto before = BitsOf(run.state());
    // FP16 gradients of a loss times 2^60 are Inf.
    SetScale(run, 0x1p60f);
    run.TrainTo(4);
    ASSERT_EQ(run.state().step_state().step, 3);
    EXPECT_THAT(Differences(BitsOf(run.state()), before), ElementsAre("counters", "scaler"));
    // And the next one that is finite moves them, from where they were.
    SetScale(run, 64);
    run.TrainTo(5);
    ASSERT_EQ(run.state().step_state().step, 4);
    const auto after = Differences(BitsOf(run.state()), before);
    EXPECT_THAT(after, Contains(kMean));
    EXPECT_THAT(after, Contains(kVariance));
  }
}

TEST(RunningStatisticsOfARunTest, DataThatIsNotFiniteDoesNotReachThem) {
  // Window 0 holds NaN, in whatever order it is read.
  at::Tensor features = at::ones({16, 6});
  features[3].fill_(std::numeric_limits<float>::quiet_NaN());
  SmallRun run(std::string(kModel) + "batch_size: 16 accumulation: 4",
               std::make_unique<FeatureDataset>(features, at::zeros({16}, at::kLong), 3));
  const auto before = BitsOf(run.state());
  run.TrainTo(2);
  EXPECT_EQ(run.state().step_state().step, 0);
  EXPECT_THAT(Differences(BitsOf(run.state()), before), ElementsAre("counters", "scaler"));
  EXPECT_TRUE(run.state().IsFinite());
}

TEST(RunningStatisticsOfARunTest, AHaltedRunLeavesThem) {
  SmallRun run(kModel);
  run.TrainTo(2);
  StepState step = run.state().step_state();
  step.halt = static_cast<std::int32_t>(Halt::kSkipsInRow);
  run.state().iteration_state().WriteState(step);
  const auto before = BitsOf(run.state());
  FakeControl control;
  // An iteration that was in flight behind the one that halted: the last verdict still says that it was applied.
  ASSERT_TRUE(run.program().Run(2, control));
  EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
}

TEST(RunningStatisticsOfARunTest, AWindowCutByAStopLeavesNoTrace) {
  for (const int question : {1, 2, 4}) {
    const std::string changes = std::string(kModel) + "accumulation: 4";
    SmallRun run(changes), undisturbed(changes);
    run.TrainTo(3);
    const auto before = BitsOf(run.state());
    FakeControl control(question);
    EXPECT_FALSE(run.program().Run(3, control));
    EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
    run.TrainTo(5);
    undisturbed.TrainTo(5);
    EXPECT_THAT(Differences(BitsOf(run.state()), BitsOf(undisturbed.state())), IsEmpty());
  }
}

TEST(RunningStatisticsOfARunTest, AShortWindowOfOneSampleLeavesThem) {
  SmallRun run(std::string(kModel) + "data { train { synthetic { samples: 9 } } } batch_size: 8");
  run.TrainTo(1);
  const at::Tensor mean = Buffer(run, kMean), variance = Buffer(run, kVariance);
  run.TrainTo(2);
  EXPECT_EQ(run.state().step_state().step, 2);
  EXPECT_TRUE(at::equal(Buffer(run, kMean), mean));
  EXPECT_TRUE(at::equal(Buffer(run, kVariance), variance));
}

TEST(RunningStatisticsOfARunTest, EvaluationReadsThemAndMovesNothing) {
  SmallRun run(kModel);
  run.TrainTo(3);
  const auto before = BitsOf(run.state());
  FakeControl control;
  const auto first = Evaluate(run.state().model(), run.data(), run.policy(), {}, control);
  EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
  for (const NamedTensor& buffer : run.state().model().buffers()) buffer.tensor.fill_(2);
  const auto second = Evaluate(run.state().model(), run.data(), run.policy(), {}, control);
  EXPECT_NE(first->loss(), second->loss());
}

TEST(RunningStatisticsOfARunTest, ARunResumedInTheMiddleEndsWithTheVeryBits) {
  const std::string convnet =
      "model { convnet { channels: [4, 6] } } batch_size: 16 accumulation: 3 iterations: 40 seed: 11 "
      "precision { mode: FP16 loss_scale { init: 1e12 growth_interval: 7 } } ";
  const RunFolder folder;
  const RunCheckpoints checkpoints(folder.checkpoint_root(), CheckpointsOf(kJob, 5));
  SmallRun whole(convnet, ImageData());
  std::vector<v1::Checkpoint> saved;
  for (const std::int64_t cut : {3, 17, 30}) {
    whole.TrainTo(cut);
    const auto checkpoint = checkpoints.Save(whole.state(), false, 1);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    saved.push_back(checkpoints.Describe(*checkpoint));
  }
  whole.TrainTo(40);
  const StepState end = whole.state().step_state();
  EXPECT_GT(end.iteration - end.step, 3);
  const auto expected = BitsOf(whole.state());
  for (const v1::Checkpoint& checkpoint : saved) {
    SmallRun resumed(convnet, ImageData());
    google::protobuf::RepeatedPtrField<v1::Checkpoint> newest_first;
    *newest_first.Add() = checkpoint;
    const auto loaded = checkpoints.Load(newest_first);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_TRUE(resumed.state().Restore(loaded->snapshot).ok());
    resumed.TrainTo(40);
    EXPECT_THAT(Differences(BitsOf(resumed.state()), expected), IsEmpty()) << "cut at " << checkpoint.iteration();
  }
  // The comparison can fail: evaluation of a run that forgot its statistics ends elsewhere.
  SmallRun forgetful(convnet, ImageData());
  RunSnapshot snapshot = whole.state().Snapshot();
  for (const NamedTensor& tensor : snapshot.model) {
    if (tensor.name.ends_with("running_mean")) tensor.tensor.zero_();
  }
  ASSERT_TRUE(forgetful.state().Restore(snapshot).ok());
  EXPECT_THAT(Differences(BitsOf(forgetful.state()), expected), Contains("stages.0.0.norm.running_mean"));
}

}  // namespace
}  // namespace mantissa::trainer
