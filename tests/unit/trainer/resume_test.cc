// A run that is saved, given up and resumed in a fresh state ends with the very bits of one that was not.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/run_checkpoints.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

constexpr std::int64_t kIterations = 200;
// In the scale's search, at a step, in the middle of an epoch, at the end of one, and just before the end of the run.
constexpr std::array<std::int64_t, 5> kCuts = {3, 50, 117, 150, 199};

// Everything that has a memory: moments, warm-up, a scale that falls and grows, dropout, accumulation, short windows.
std::string Training(const std::string& mode, const std::string& optimizer) {
  return "model { mlp { hidden: 12 dropout: 0.25 } } data { train { synthetic { samples: 76 } } } "
         "batch_size: 16 accumulation: 3 iterations: 200 schedule { cosine { warmup_steps: 20 } } seed: 11 "
         "precision { mode: " +
         mode + " loss_scale { init: 1e12 growth_interval: 7 } } optimizer { " + optimizer + " }";
}

class ResumeTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  std::string training() const { return Training(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(ResumeTest, ChangesNothingWhereverTheRunIsCut) {
  const RunFolder folder;
  const RunCheckpoints checkpoints(folder.checkpoint_root(), CheckpointsOf(kJob, 5));
  std::vector<v1::Checkpoint> saved;
  SmallRun whole(training());
  for (const std::int64_t cut : kCuts) {
    whole.TrainTo(cut);
    const auto checkpoint = checkpoints.Save(whole.state(), false, 1);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    saved.push_back(checkpoints.Describe(*checkpoint));
  }
  whole.TrainTo(kIterations);
  const auto expected = BitsOf(whole.state());

  for (const v1::Checkpoint& checkpoint : saved) {
    SmallRun resumed(training());
    google::protobuf::RepeatedPtrField<v1::Checkpoint> newest_first;
    *newest_first.Add() = checkpoint;
    const auto loaded = checkpoints.Load(newest_first);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_TRUE(resumed.state().Restore(loaded->snapshot).ok());
    EXPECT_EQ(resumed.state().step_state().iteration, checkpoint.iteration());
    resumed.TrainTo(kIterations);
    EXPECT_THAT(Differences(BitsOf(resumed.state()), expected), IsEmpty()) << "cut at " << checkpoint.iteration();
    StepState end = resumed.state().step_state();
    end.applied_in_row = whole.state().step_state().applied_in_row;  // no checkpoint holds it; replays alone read it
    const StepState whole_end = whole.state().step_state();
    // The last iteration's own words too: loss, norm, rate.
    EXPECT_EQ(std::memcmp(&end, &whole_end, sizeof(end)), 0) << "cut at " << checkpoint.iteration();
  }
}

// The comparison above can fail: what a checkpoint holds matters to how the run ends.
TEST_P(ResumeTest, WithoutTheMomentsItWouldEndElsewhere) {
  SmallRun whole(training());
  whole.TrainTo(50);
  RunSnapshot snapshot = whole.state().Snapshot();
  whole.TrainTo(kIterations);
  for (const NamedTensor& moment : snapshot.optimizer) moment.tensor.zero_();
  SmallRun resumed(training());
  ASSERT_TRUE(resumed.state().Restore(snapshot).ok());
  resumed.TrainTo(kIterations);
  EXPECT_THAT(Differences(BitsOf(resumed.state()), BitsOf(whole.state())), Contains("head.weight"));
}

INSTANTIATE_TEST_SUITE_P(Everywhere, ResumeTest,
                         ::testing::Combine(::testing::Values("FP32", "BF16", "FP16"),
                                            ::testing::Values("adamw {}", "sgd {}")),
                         [](const auto& info) {
                           return std::get<0>(info.param) + (std::get<1>(info.param) == "sgd {}" ? "Sgd" : "AdamW");
                         });

TEST(ResumeScaleTest, TheRunAboveSkipsAndGrows) {
  // Else cuts in the scale's search would prove nothing.
  SmallRun run(Training("FP16", "adamw {}"));
  run.TrainTo(3);
  EXPECT_EQ(run.state().step_state().step, 0);
  run.TrainTo(kIterations);
  const StepState end = run.state().step_state();
  EXPECT_GT(end.iteration - end.step, 10);
  EXPECT_LT(end.iteration - end.step, 100);
}

}  // namespace
}  // namespace mantissa::trainer
