#include "worker/trainer/run_state.h"

#include <limits>
#include <memory>
#include <utility>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/small_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kLayered[] = "model { mlp { hidden: 4 } } precision { mode: FP16 loss_scale { growth_interval: 2 } } ";

// With state that is not trained.
class BufferedModel final : public Model {
 public:
  BufferedModel() : Model({{"weight", {2}, spec::ParameterKind::kWeight}}, at::kCPU) {
    statistics_ = RunningStatistics(
        {{"norm.running_mean", {2}, spec::ParameterKind::kNorm}, {"norm.running_var", {2}, spec::ParameterKind::kNorm}},
        at::kCPU);
  }
  at::Tensor Forward(const at::Tensor& input, const ForwardContext&) override { return input; }
};

RunState BufferedState() {
  return RunState(std::make_unique<BufferedModel>(),
                  {SmallSpec().training().optimizer(), SmallSpec().training().schedule(), 1, ScalerSettings()},
                  at::kCPU);
}

std::vector<std::string> Names(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : tensors) names.push_back(tensor.name);
  return names;
}

TEST(RunStateTest, HoldsParametersInForwardOrderThenBuffersAndTheMomentsOfEach) {
  SmallRun run(kLayered);
  EXPECT_THAT(Names(run.state().View().model),
              ElementsAre("layers.0.weight", "layers.0.bias", "head.weight", "head.bias"));
  EXPECT_THAT(Names(run.state().View().optimizer),
              ElementsAre("exp_avg.layers.0.weight", "exp_avg.layers.0.bias", "exp_avg.head.weight",
                          "exp_avg.head.bias", "exp_avg_sq.layers.0.weight", "exp_avg_sq.layers.0.bias",
                          "exp_avg_sq.head.weight", "exp_avg_sq.head.bias"));
  EXPECT_THAT(Names(BufferedState().View().model), ElementsAre("weight", "norm.running_mean", "norm.running_var"));
}

TEST(RunStateTest, ASnapshotStaysWhatItWasAndAViewDoesNot) {
  SmallRun run(kLayered);
  const RunSnapshot snapshot = run.state().Snapshot();
  const RunSnapshot view = run.state().View();
  const std::string before = BytesIn(snapshot.model[0].tensor);
  ASSERT_EQ(BytesIn(view.model[0].tensor), before);
  run.TrainTo(2);
  EXPECT_EQ(BytesIn(snapshot.model[0].tensor), before);
  EXPECT_NE(BytesIn(view.model[0].tensor), before);
  EXPECT_EQ(snapshot.step.iteration, 0);
}

TEST(RunStateTest, RestoreBringsBackEveryBit) {
  SmallRun run(kLayered);
  run.TrainTo(3);
  RunSnapshot snapshot = run.state().Snapshot();
  snapshot.lineage = 2;
  ASSERT_TRUE(run.state().Restore(snapshot).ok());
  const auto then = BitsOf(run.state());
  run.TrainTo(6);
  EXPECT_THAT(Differences(BitsOf(run.state()), then), ::testing::SizeIs(12 + 2));  // all but the lineage
  ASSERT_TRUE(run.state().Restore(snapshot).ok());
  EXPECT_THAT(Differences(BitsOf(run.state()), then), IsEmpty());
  EXPECT_EQ(run.state().lineage(), 2);
  EXPECT_EQ(run.state().step_state().iteration, 3);
}

TEST(RunStateTest, BuffersAreRestoredToo) {
  RunState state = BufferedState();
  RunSnapshot snapshot = state.Snapshot();
  snapshot.model[1].tensor.fill_(4);
  snapshot.model[2].tensor.fill_(9);
  ASSERT_TRUE(state.Restore(snapshot).ok());
  EXPECT_EQ(state.model().buffers()[0].tensor[1].item<float>(), 4);
  EXPECT_EQ(state.model().buffers()[1].tensor[0].item<float>(), 9);
}

TEST(RunStateTest, ARestoredStateTrainsOn) {
  SmallRun run(kLayered);
  SmallRun other(kLayered);
  run.TrainTo(3);
  ASSERT_TRUE(other.state().Restore(run.state().Snapshot()).ok());
  run.TrainTo(6);
  other.TrainTo(6);
  EXPECT_THAT(Differences(BitsOf(other.state()), BitsOf(run.state())), IsEmpty());
}

class RestoreMismatchTest : public ::testing::Test {
 protected:
  // The fault of restoring a snapshot of which `spoil` made something else; the state must not have changed.
  template <class Spoil>
  std::string Fault(Spoil spoil) {
    SmallRun run(kLayered);
    run.TrainTo(2);
    RunSnapshot snapshot = run.state().Snapshot();
    run.TrainTo(4);
    const auto before = BitsOf(run.state());
    spoil(snapshot);
    const absl::Status restored = run.state().Restore(snapshot);
    EXPECT_TRUE(absl::IsFailedPrecondition(restored)) << restored;
    EXPECT_THAT(Differences(BitsOf(run.state()), before), IsEmpty());
    return std::string(restored.message());
  }
};

TEST_F(RestoreMismatchTest, AMissingTensorIsNamed) {
  EXPECT_THAT(Fault([](RunSnapshot& snapshot) { snapshot.model.erase(snapshot.model.begin() + 2); }),
              AllOf(HasSubstr("head.weight"), HasSubstr("is missing"), HasSubstr("another model or optimizer")));
  EXPECT_THAT(Fault([](RunSnapshot& snapshot) { snapshot.optimizer.pop_back(); }),
              AllOf(HasSubstr("exp_avg_sq.head.bias"), HasSubstr("is missing")));
}

TEST_F(RestoreMismatchTest, AnUnknownTensorIsNamed) {
  EXPECT_THAT(Fault([](RunSnapshot& snapshot) {
                snapshot.model.push_back({"layers.1.weight", at::zeros({1})});
              }),
              AllOf(HasSubstr("layers.1.weight"), HasSubstr("is not known")));
  EXPECT_THAT(Fault([](RunSnapshot& snapshot) {
                snapshot.optimizer.push_back({"momentum.x", at::zeros({1})});
              }),
              AllOf(HasSubstr("momentum.x"), HasSubstr("is not known")));
}

TEST_F(RestoreMismatchTest, AnotherShapeIsNamedEvenWithAsManyElements) {
  EXPECT_THAT(
      Fault([](RunSnapshot& snapshot) { snapshot.model[0].tensor = snapshot.model[0].tensor.t().contiguous(); }),
      AllOf(HasSubstr("layers.0.weight"), HasSubstr("has another shape")));
}

TEST_F(RestoreMismatchTest, AnotherTypeIsNamed) {
  EXPECT_THAT(
      Fault([](RunSnapshot& snapshot) { snapshot.optimizer[0].tensor = snapshot.optimizer[0].tensor.to(at::kHalf); }),
      AllOf(HasSubstr("exp_avg.layers.0.weight"), HasSubstr("has another type")));
}

TEST(RunStateFiniteTest, EveryParameterAndMomentCounts) {
  SmallRun run(kLayered);
  run.TrainTo(2);
  EXPECT_TRUE(run.state().IsFinite());
  const RunSnapshot view = run.state().View();
  for (const std::vector<NamedTensor>* tensors : {&view.model, &view.optimizer}) {
    for (const NamedTensor& tensor : *tensors) {
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        const at::Tensor element = tensor.tensor.detach().flatten()[-1];
        const float good = element.item<float>();
        element.fill_(bad);
        EXPECT_FALSE(run.state().IsFinite()) << bad << " in " << tensor.name;
        element.fill_(good);
        EXPECT_TRUE(run.state().IsFinite());
      }
    }
  }
}

TEST(RunStateFiniteTest, EveryBufferCounts) {
  RunState state = BufferedState();
  EXPECT_TRUE(state.IsFinite());
  state.model().buffers()[0].tensor[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(state.IsFinite());
}

}  // namespace
}  // namespace mantissa::trainer
