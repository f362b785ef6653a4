#include "worker/studies/run/trial_run.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/study_place.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/data/load_data.h"

namespace mantissa::trainer {
namespace {

v1::TrainingSpec Training(const std::string& changes = "") {
  return SmallSpec("model { mlp { hidden: 8 } }" + changes).training();
}

class TrialRunTest : public ::testing::Test {
 protected:
  const StudyPlace place_;
  const StudyEnvironment environment_ = place_.environment();
  const TrainingData data_ = *LoadTrainingData(Training(), environment_.roots, std::int64_t{1} << 30);
  FakeObserver observer_;
};

TEST_F(TrialRunTest, TrainsAsFarAsItIsAsked) {
  TrialRun run(Training(), *data_.train, environment_);
  const at::Tensor before = run.state().model().parameters().values().detach().clone();
  EXPECT_TRUE(run.TrainTo(3, observer_));
  EXPECT_EQ(run.state().step_state().iteration, 3);
  EXPECT_FALSE(before.equal(run.state().model().parameters().values().detach()));
}

TEST_F(TrialRunTest, AStepAtATimeIsTheSameTraining) {
  TrialRun run(Training(), *data_.train, environment_);
  ASSERT_TRUE(run.TrainTo(3, observer_));
  TrialRun stepped(Training(), *data_.train, environment_);
  for (int i = 0; i < 3; ++i) stepped.Step(observer_);
  EXPECT_TRUE(
      run.state().model().parameters().values().detach().equal(stepped.state().model().parameters().values().detach()));
}

TEST_F(TrialRunTest, EndsAtAStopAndWhereThePrecisionFails) {
  FakeObserver stopped(0);
  TrialRun run(Training(), *data_.train, environment_);
  EXPECT_FALSE(run.TrainTo(3, stopped));
  // Every iteration overflows, and the scale, 2^100, cannot fall.
  TrialRun failing(Training("precision { mode: FP16 loss_scale { init: 1267650600228229401496703205376 min: "
                            "1267650600228229401496703205376 } }"),
                   *data_.train, environment_);
  EXPECT_FALSE(failing.TrainTo(3, observer_));
}

TEST_F(TrialRunTest, FirstGradientsAreTimesTheLossScale) {
  TrialRun once(Training("precision { mode: FP16 loss_scale { init: 1 } }"), *data_.train, environment_);
  once.FirstGradients();
  TrialRun scaled(Training("precision { mode: FP16 loss_scale { init: 1024 } }"), *data_.train, environment_);
  scaled.FirstGradients();
  const at::Tensor gradients = once.state().model().parameters().gradients();
  EXPECT_GT(gradients.abs().max().item<float>(), 0);
  EXPECT_TRUE(at::allclose(scaled.state().model().parameters().gradients(), gradients * 1024, 0.05, 1e-2));
}

}  // namespace
}  // namespace mantissa::trainer
