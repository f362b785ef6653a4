// storage MASTER_FP32: the same training as with casts at use, bit for bit, from weights that are cast once a step.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/run_checkpoints.h"

namespace mantissa::trainer {
namespace {

using ::testing::IsEmpty;

struct Case {
  std::string name;
  std::string training;
};

// One of each model; FP16 begins with a scale that overflows.
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const std::string mode : {"BF16", "FP16"}) {
    const std::string precision = "precision { mode: " + mode + " loss_scale { init: 1e12 growth_interval: 7 } } ";
    cases.push_back({"Mlp" + mode, precision + "model { mlp { hidden: 12 dropout: 0.25 } } accumulation: 3 "});
    cases.push_back({"Encoder" + mode, precision + "model { transformer_encoder { layers: 2 d_model: 8 heads: 2 } } "
                                                   "data { train { synthetic { shape: 4 } } } accumulation: 2 "});
    cases.push_back({"Gpt" + mode, precision +
                                       "model { gpt { layers: 2 d_model: 8 heads: 2 context: 6 vocabulary: 7 } } "
                                       "data { train { synthetic { samples: 24 classes: 7 } } } "});
  }
  return cases;
}

constexpr char kMasters[] = "precision { storage: MASTER_FP32 } ";

std::string StoredBits(SmallRun& run) { return BytesIn(run.state().model().parameters().stored_weights()); }

std::string CastBits(SmallRun& run) {
  const at::Tensor before = run.state().model().parameters().stored_weights().clone();
  run.state().model().parameters().CastWeights();
  const std::string bits = StoredBits(run);
  run.state().model().parameters().stored_weights().copy_(before);
  return bits;
}

class MasterWeightsTest : public ::testing::TestWithParam<Case> {
 protected:
  std::string training() const { return GetParam().training; }
};

TEST_P(MasterWeightsTest, TrainAsCastsAtUseDoBitForBit) {
  SmallRun casts(training()), masters(training() + kMasters);
  ASSERT_FALSE(casts.state().model().parameters().stored_weights().defined());
  ASSERT_TRUE(masters.state().model().parameters().stored_weights().defined());
  for (const std::int64_t iteration : {1, 2, 20, 40}) {
    casts.TrainTo(iteration);
    masters.TrainTo(iteration);
    ASSERT_THAT(Differences(BitsOf(masters.state()), BitsOf(casts.state())), IsEmpty()) << iteration;
    ASSERT_EQ(masters.state().step_state().loss, casts.state().step_state().loss) << iteration;
    ASSERT_EQ(StoredBits(masters), CastBits(masters)) << iteration;
  }
  EXPECT_GT(masters.state().step_state().step, 0);
}

TEST_P(MasterWeightsTest, WeightsAreReadAsTheyAreStored) {
  SmallRun run(training() + kMasters), other(training() + kMasters);
  other.state().model().parameters().stored_weights().mul_(0.5);
  run.TrainTo(1);
  other.TrainTo(1);
  EXPECT_NE(run.state().step_state().loss, other.state().step_state().loss);
}

TEST_P(MasterWeightsTest, ASkippedIterationLeavesEveryBit) {
  SmallRun run(training() + kMasters);
  run.TrainTo(30);
  const auto before = BitsOf(run.state());
  const std::string stored = StoredBits(run);
  // A weight that is no number, and so a loss that is none.
  run.state().model().parameters().stored_weights()[0] = std::numeric_limits<float>::quiet_NaN();
  const std::string spoiled = StoredBits(run);
  const std::int64_t step = run.state().step_state().step;
  run.TrainTo(31);
  EXPECT_EQ(run.state().step_state().step, step);
  EXPECT_EQ(StoredBits(run), spoiled);
  EXPECT_THAT(Differences(BitsOf(run.state()), before), ::testing::IsSubsetOf({"counters", "scaler"}));
  run.state().model().parameters().CastWeights();
  EXPECT_EQ(StoredBits(run), stored);
}

TEST_P(MasterWeightsTest, ACheckpointHoldsTheMastersAndAResumedRunEndsWithTheSameBits) {
  const RunFolder folder;
  const RunCheckpoints checkpoints(folder.checkpoint_root(), CheckpointsOf(kJob, 4));
  SmallRun whole(training() + kMasters);
  whole.TrainTo(17);
  const auto saved = checkpoints.Save(whole.state(), false, 1);
  ASSERT_TRUE(saved.ok()) << saved.status();
  google::protobuf::RepeatedPtrField<v1::Checkpoint> newest_first;
  *newest_first.Add() = checkpoints.Describe(*saved);
  const auto loaded = checkpoints.Load(newest_first);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const NamedTensor& tensor : loaded->snapshot.model) EXPECT_EQ(tensor.tensor.scalar_type(), at::kFloat);

  SmallRun resumed(training() + kMasters);
  ASSERT_TRUE(resumed.state().Restore(loaded->snapshot).ok());
  EXPECT_EQ(StoredBits(resumed), StoredBits(whole));
  whole.TrainTo(40);
  resumed.TrainTo(40);
  EXPECT_THAT(Differences(BitsOf(resumed.state()), BitsOf(whole.state())), IsEmpty());
  EXPECT_EQ(StoredBits(resumed), StoredBits(whole));

  // The same file goes on with casts at use, and the other way round: it says nothing of the storage.
  SmallRun casts(training());
  ASSERT_TRUE(casts.state().Restore(loaded->snapshot).ok());
  casts.TrainTo(40);
  EXPECT_THAT(Differences(BitsOf(casts.state()), BitsOf(whole.state())), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Models, MasterWeightsTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST(MasterUpdatesTest, SmallOnesAreNotLost) {
  // 100 updates of 1e-4 of the value: BF16's next number below 1 is 4e-3 away.
  SmallRun run(std::string("optimizer { sgd { learning_rate: 1e-4 momentum: 0 } } max_grad_norm: 0 ") +
               "precision { mode: BF16 } " + kMasters);
  ParameterBuffer& parameters = run.state().model().parameters();
  parameters.values().fill_(1);
  parameters.CastWeights();
  at::Tensor pure = at::ones({}, at::kBFloat16);
  parameters.gradients().fill_(1);
  const at::Tensor& state = run.state().iteration_state().state();
  for (int i = 0; i < 100; ++i) {
    run.state().optimizer().Step(state);
    pure.sub_(at::full({}, 1e-4, at::kBFloat16));
  }
  EXPECT_EQ(pure.item<float>(), 1);
  EXPECT_NEAR(parameters.at("head.weight").max().item<float>(), 0.99, 1e-5);
  EXPECT_EQ(parameters.parameters()[0].stored.max().item<float>(), 0.98828125f);  // 0.99 to 8 bits
}

TEST(MasterFiniteTest, TheMastersDecide) {
  SmallRun run(std::string("precision { mode: FP16 } ") + kMasters);
  const at::Tensor weight = run.state().model().parameters().at("head.weight").detach();
  weight[0][0] = 1e5;  // finite, though FP16 has no such number
  run.state().model().parameters().CastWeights();
  EXPECT_TRUE(run.state().IsFinite());
  weight[0][0] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(run.state().IsFinite());
}

// Which parameters of the small MLP are stored, and in what.
std::string Stored(const std::string& precision, at::Device device = at::kCPU) {
  const v1::TrainingSpec training = SmallSpec("model { mlp { hidden: 4 } } precision { " + precision + " }").training();
  const auto parameters = spec::ModelParameters(training.model(), *spec::SampleShapeOf(training));
  const std::optional<WeightStorage> storage = WeightStorageOf(training.precision(), parameters, device);
  if (!storage) return "none";
  std::string text = c10::toString(storage->type);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (storage->parameters.at(i)) text += " " + parameters[i].path;
  }
  return text;
}

TEST(WeightStorageTest, IsOfWhatProductsReadInALowFormatAndMasterStorageAlone) {
  EXPECT_EQ(Stored("mode: BF16 storage: MASTER_FP32"), "BFloat16 layers.0.weight head.weight");
  EXPECT_EQ(Stored("mode: FP16 storage: MASTER_FP32"), "Half layers.0.weight head.weight");
  EXPECT_EQ(Stored("mode: BF16"), "none");
  EXPECT_EQ(Stored("mode: FP32 storage: MASTER_FP32"), "none");
}

TEST(WeightStorageTest, OnAGpuIsOfWhatLinearLayersReadInALowFormatWhateverTheStorage) {
  EXPECT_EQ(Stored("mode: BF16", at::kCUDA), "BFloat16 layers.0.weight layers.0.bias head.weight head.bias");
  EXPECT_EQ(Stored("mode: FP16 storage: FP32_PARAMETERS", at::kCUDA),
            "Half layers.0.weight layers.0.bias head.weight head.bias");
  EXPECT_EQ(Stored("mode: FP32", at::kCUDA), "none");
  EXPECT_EQ(Stored("mode: FP32 overrides { match: 'head' compute: BF16 }", at::kCUDA),
            "BFloat16 head.weight head.bias");
  // One format: the one that was asked for, else the first that is read.
  EXPECT_EQ(Stored("mode: FP16 overrides { match: 'head' compute: BF16 storage: MASTER_FP32 }", at::kCUDA),
            "BFloat16 head.weight head.bias");
  EXPECT_EQ(Stored("mode: FP16 overrides { match: 'head' compute: BF16 }", at::kCUDA),
            "Half layers.0.weight layers.0.bias");
}

TEST(WeightStorageTest, AnOverrideDecidesForItsModule) {
  EXPECT_EQ(Stored("mode: BF16 storage: MASTER_FP32 overrides { match: 'head' compute: FP32 }"),
            "BFloat16 layers.0.weight");
  EXPECT_EQ(Stored("mode: FP32 overrides { match: 'head' compute: BF16 storage: MASTER_FP32 }"),
            "BFloat16 head.weight");
  EXPECT_EQ(Stored("mode: BF16 overrides { match: 'Linear' storage: MASTER_FP32 } "
                   "overrides { match: 'head' storage: FP32_PARAMETERS }"),
            "BFloat16 layers.0.weight");
  // There is one format for what is stored.
  EXPECT_EQ(Stored("mode: FP16 storage: MASTER_FP32 overrides { match: 'head' compute: BF16 }"),
            "Half layers.0.weight");
}

}  // namespace
}  // namespace mantissa::trainer
