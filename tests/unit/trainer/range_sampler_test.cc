#include "worker/trainer/range_sampler.h"

#include <string>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/ticking_clock.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const process::FakeClock kStill;

std::vector<std::string> NamesIn(const ModuleRanges& ranges) {
  std::vector<std::string> names;
  for (const ModuleRange& range : ranges.modules) names.push_back(range.module);
  return names;
}

TEST(RangeSamplerTest, MeasuresEveryModuleForwardAndBackward) {
  SmallRun run("model { mlp { hidden: [4, 5] } } precision { mode: FP16 loss_scale { init: 512 } }");
  const ModuleRanges ranges = RangeSampler(run.state(), run.program(), 1, kStill).Sample(0);
  EXPECT_THAT(NamesIn(ranges), ElementsAre("layers.0", "layers.1", "head"));
  EXPECT_EQ(ranges.samples, 8);
  EXPECT_EQ(ranges.module_count, 3);
  EXPECT_EQ(ranges.loss_scale, 512);
  for (const ModuleRange& range : ranges.modules) {
    EXPECT_GT(range.activation.max, 0) << range.module;
    EXPECT_GT(range.gradient.max, 0) << range.module;
  }
  // The gradient of a logit is (p - y) x scale / targets.
  EXPECT_LT(ranges.modules[2].gradient.max, 512.0 / 8);
  EXPECT_GT(ranges.modules[2].gradient.max, 512.0 / 8 / 3);
}

// The first sample comes whatever it costs, so that of long sequences it must not be of many.
TEST(RangeSamplerTest, LongSequencesCountForManySamples) {
  const auto samples = [](int context) {
    SmallRun run(absl::StrCat("model { gpt { layers: 1 d_model: 8 heads: 2 context: ", context,
                              " } } data { train { synthetic { samples: 32 classes: 5 } } }"));
    return RangeSampler(run.state(), run.program(), 1, kStill).Sample(0).samples;
  };
  EXPECT_EQ(samples(4), 8);
  EXPECT_EQ(samples(128), 8);
  EXPECT_EQ(samples(129), 7);
  EXPECT_EQ(samples(512), 2);
  EXPECT_EQ(samples(1500), 1);
}

TEST(RangeSamplerTest, SeesWhatTheFormatWouldLose) {
  // A scale so small that every gradient is below FP16's smallest number.
  SmallRun run("model { mlp { hidden: 4 } } precision { mode: FP16 loss_scale { init: 1e-9 } }");
  const ModuleRanges ranges = RangeSampler(run.state(), run.program(), 1, kStill).Sample(0);
  EXPECT_EQ(ranges.modules[1].gradient.flushed_ratio, 1);
  EXPECT_GT(ranges.modules[1].gradient.max, 0);
  EXPECT_EQ(ranges.modules[1].activation.flushed_ratio, 0);
}

TEST(RangeSamplerTest, SeesGradientsOfParametersThatVanishBehindLargeOnes) {
  // Outputs' gradients of about 1, times inputs of 1e-9.
  SmallRun run("model { mlp {} } precision { mode: FP16 loss_scale { init: 16 } }", ConstantData(1e-9f));
  const ModuleRanges ranges = RangeSampler(run.state(), run.program(), 1, kStill).Sample(0);
  EXPECT_GT(ranges.modules[0].gradient.max, 0.1);
  EXPECT_EQ(ranges.modules[0].gradient.flushed_ratio, 1) << "the weight's, not the output's";
}

TEST(RangeSamplerTest, TouchesNoBitOfTheTraining) {
  for (const std::string mode : {"FP32", "BF16", "FP16"}) {
    for (const std::string model : {"model { mlp { hidden: 8 dropout: 0.25 } }",
                                    "model { transformer_encoder { layers: 1 d_model: 8 heads: 2 dropout: 0.25 } }",
                                    "model { gpt { layers: 1 d_model: 8 heads: 2 context: 4 dropout: 0.25 } } "
                                    "data { train { synthetic { samples: 32 classes: 5 } } }"}) {
      const std::string changes =
          absl::StrCat(model, " accumulation: 2 precision { mode: ", mode, " loss_scale { init: 256 } }");
      SCOPED_TRACE(changes);
      SmallRun sampled(changes), undisturbed(changes);
      RangeSampler sampler(sampled.state(), sampled.program(), 1, kStill);
      for (int iteration = 1; iteration <= 6; ++iteration) {
        sampled.TrainTo(iteration);
        const std::string gradients = BytesIn(sampled.state().model().parameters().gradients());
        sampler.Sample(iteration - 1);
        EXPECT_EQ(BytesIn(sampled.state().model().parameters().gradients()), gradients);
      }
      undisturbed.TrainTo(6);
      EXPECT_THAT(Differences(BitsOf(sampled.state()), BitsOf(undisturbed.state())), IsEmpty());
    }
  }
}

TEST(RangeSamplerTest, IsDueOnceInEveryStretch) {
  SmallRun run;
  RangeSampler sampler(run.state(), run.program(), 10, kStill);
  EXPECT_FALSE(sampler.SampleIfDue(9));
  EXPECT_TRUE(sampler.SampleIfDue(12)) << "the host learns of iterations by the handful";
  EXPECT_FALSE(sampler.SampleIfDue(13));
  EXPECT_FALSE(sampler.SampleIfDue(19));
  EXPECT_TRUE(sampler.SampleIfDue(20));
  RangeSampler never(run.state(), run.program(), 0, kStill);
  EXPECT_FALSE(never.SampleIfDue(100));
}

// A clock that every look moves on by as much: a sample takes one tick, and so does everything else between two of
// them.
TEST(RangeSamplerTest, TakesNoMoreThanItsShareOfTheTime) {
  SmallRun run("model { mlp { hidden: 4 } }");
  run.TrainTo(1);
  const TickingClock clock(std::chrono::milliseconds(1));
  RangeSampler sampler(run.state(), run.program(), 1, clock);
  int samples = 0;
  for (int i = 2; i <= 1001; ++i) samples += sampler.SampleIfDue(i) ? 1 : 0;
  const double share = 1000 * RangeSampler::kShare;  // a sample takes a tick
  EXPECT_TRUE(samples >= share - 1 && samples <= share + 2) << samples << " in about a thousand ticks";
}

TEST(RangeSamplerTest, AResumedRunDoesNotSampleAtOnce) {
  SmallRun run;
  run.TrainTo(15);
  RangeSampler sampler(run.state(), run.program(), 10, kStill);
  EXPECT_FALSE(sampler.SampleIfDue(16));
  EXPECT_TRUE(sampler.SampleIfDue(20));
}

TEST(RangeSamplerTest, SixtyFourModulesAreKeptAndAllAreCounted) {
  std::string hidden = "model { mlp {";
  for (int i = 0; i < 64; ++i) hidden += " hidden: 3";
  SmallRun run(hidden + " } }");
  const ModuleRanges ranges = RangeSampler(run.state(), run.program(), 1, kStill).Sample(0);
  EXPECT_EQ(ranges.module_count, 65);
  EXPECT_EQ(ranges.modules.size(), 64u);
}

}  // namespace
}  // namespace mantissa::trainer
