// A skipped iteration, in every precision, model and optimizer: not one bit of what is trained has changed.
#include <limits>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/faults.h"
#include "tests/unit/trainer/small_run.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

class SkippedIterationTest : public ::testing::TestWithParam<std::tuple<std::string, std::string, std::string>> {};

TEST_P(SkippedIterationTest, ChangesNoBitOfParametersBuffersMomentsAndStep) {
  const auto& [mode, model, optimizer] = GetParam();
  for (const int accumulation : {1, 3}) {
    const std::string changes = absl::StrCat(
        model == "mlp"           ? "model { mlp { hidden: 8 dropout: 0.25 } }"
        : model == "transformer" ? "model { transformer_encoder { layers: 1 d_model: 8 heads: 2 dropout: 0.25 } }"
        : model == "convnet" ? "model { convnet { channels: [3, 4] } } data { train { synthetic { shape: [4, 4] } } }"
                             : "model { gpt { layers: 1 d_model: 8 heads: 2 context: 4 dropout: 0.25 } } "
                               "data { train { synthetic { samples: 32 classes: 5 } } }",
        " optimizer { ", optimizer, " {} } accumulation: ", accumulation, " precision { mode: ", mode,
        " loss_scale { init: 256 } }");
    FaultProbe probe;
    SmallRun run(changes, SmallRunOptions{.probe = &probe});
    run.TrainTo(5);
    ASSERT_EQ(run.state().step_state().step, 5);
    // One Inf in the gradient of the last micro-batch's logits.
    const std::int64_t micro_batches = run.plan().MicroBatches(5);
    std::int64_t passes = 0;
    probe.Plant("head", nullptr, [&](const at::Tensor& gradient) {
      const bool last = ++passes == micro_batches;
      return last ? WithElement(gradient, 1, std::numeric_limits<double>::infinity()) : gradient;
    });
    auto before = BitsOf(run.state());
    run.TrainTo(6);
    auto after = BitsOf(run.state());
    const StepState step = run.state().step_state();
    EXPECT_EQ(step.found_inf, 1);
    EXPECT_EQ(step.iteration, 6);
    EXPECT_EQ(step.step, 5);
    // The iteration has been counted, and the scaler has heard of it.
    before.erase("counters");
    after.erase("counters");
    before.erase("scaler");
    after.erase("scaler");
    EXPECT_THAT(Differences(after, before), IsEmpty());
    // Without the fault it changes what it should.
    probe.Plant("", nullptr, nullptr);
    run.TrainTo(7);
    EXPECT_THAT(Differences(BitsOf(run.state()), before), Contains(model == "gpt" ? "norm.weight" : "head.weight"));
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, SkippedIterationTest,
                         ::testing::Combine(::testing::Values("FP32", "BF16", "FP16"),
                                            ::testing::Values("mlp", "transformer", "gpt", "convnet"),
                                            ::testing::Values("adamw", "adam", "sgd")),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), std::get<1>(info.param),
                                               std::get<2>(info.param));
                         });

}  // namespace
}  // namespace mantissa::trainer
