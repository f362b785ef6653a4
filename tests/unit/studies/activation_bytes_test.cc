// The estimate of activations against what a forward and backward pass really allocates.
#include <ostream>
#include <string>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/model_shape.h"
#include "tests/unit/studies/counted_memory.h"
#include "tests/unit/studies/study_place.h"
#include "worker/data/load_data.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/run/trial_run.h"

namespace mantissa::trainer {
namespace {

struct Case {
  const char* name;
  const char* training;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

// Large enough that statistics, losses and padding do not count.
constexpr Case kCases[] = {
    {"Mlp",
     "model { mlp { hidden: [256, 256, 256, 256] } } data { train { synthetic { samples: 256 shape: 128 } } } "
     "batch_size: 256"},
    {"MlpGelu",
     "model { mlp { hidden: [256, 256, 256, 256] activation: GELU } } "
     "data { train { synthetic { samples: 256 shape: 128 } } } batch_size: 256"},
    {"MlpDropout",
     "model { mlp { hidden: [256, 256, 256, 256] dropout: 0.1 } } "
     "data { train { synthetic { samples: 256 shape: 128 } } } batch_size: 256"},
    {"Encoder",
     "model { transformer_encoder { layers: 4 d_model: 64 } } "
     "data { train { synthetic { samples: 16 shape: [64, 32] } } } batch_size: 16"},
    {"OneLayerEncoder",
     "model { transformer_encoder { layers: 1 d_model: 64 activation: GELU } } "
     "data { train { synthetic { samples: 16 shape: [64, 64] } } } batch_size: 16"},
    {"Gpt",
     "model { gpt { layers: 4 d_model: 64 context: 64 vocabulary: 256 } } "
     "data { train { synthetic { samples: 32 classes: 256 } } } batch_size: 16"},
    {"WideGpt",
     "model { gpt { layers: 1 d_model: 64 context: 64 vocabulary: 4096 } } "
     "data { train { synthetic { samples: 32 classes: 4096 } } } batch_size: 8"},
    {"Convnet",
     "model { convnet { channels: [8, 16] convolutions: 2 } } "
     "data { train { synthetic { samples: 32 shape: [32, 32] } } } batch_size: 32"},
    {"Sequential",
     "model { sequential { layers { linear { out: 128 } } layers { gelu {} } layers { layer_norm {} } layers { "
     "residual "
     "{ layers { linear { out: 128 } } layers { tanh {} } layers { dropout {} } } } layers { linear { out: 128 } } "
     "layers { relu {} } layers { linear {} } } } data { train { synthetic { samples: 512 shape: 128 } } } "
     "batch_size: 512"},
};

v1::TrainingSpec Training(const Case& one, const std::string& precision) {
  return WithDefaults(
      From<v1::TrainingSpec>(absl::StrCat(one.training, " iterations: 1 precision { mode: ", precision, " }")));
}

class ActivationBytesTest : public ::testing::TestWithParam<Case> {
 protected:
  // What one iteration allocates, over the estimate.
  double MeasuredOverEstimate(const std::string& precision) {
    const StudyPlace place;
    const StudyEnvironment environment = place.environment();
    const v1::TrainingSpec training = Training(GetParam(), precision);
    const TrainingData data = *LoadTrainingData(training, environment.roots, std::int64_t{1} << 30);
    FakeObserver observer;
    TrialRun run(training, *data.train, environment);
    const std::int64_t peak = PeakDuring([&] { run.Step(observer); });
    const spec::ModelBytes bytes = spec::EstimateModelBytes(training, data.train->shape().sample);
    return static_cast<double>(peak) / static_cast<double>(bytes.activations);
  }
};

// Halfway through an activation the trainer's op of a CPU holds one gradient where a GPU's library holds two.
TEST_P(ActivationBytesTest, AnIterationInFp32TakesWhatIsEstimated) {
  const double ratio = MeasuredOverEstimate("FP32");
  RecordProperty("measured_over_estimate", std::to_string(ratio));
  EXPECT_GT(ratio, 0.94);
  EXPECT_LT(ratio, 1.02);
}

// A CPU keeps FP32 copies of what a GPU multiplies in the low format, and casts of weights are not activations: so
// loosely, but the right way round.
TEST_P(ActivationBytesTest, ALowPrecisionIsNoFurtherOffThanACpuMakesIt) {
  const double ratio = MeasuredOverEstimate("FP16");
  RecordProperty("measured_over_estimate", std::to_string(ratio));
  EXPECT_GT(ratio, 0.98);
  EXPECT_LT(ratio, 1.32);
}

INSTANTIATE_TEST_SUITE_P(Models, ActivationBytesTest, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mantissa::trainer
