// An attempt is interrupted where it hurts, and another one goes on from its checkpoint: files and records of the two
// together are, bit for bit, those of an attempt that was left alone. Every model, every precision.
#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/bits.h"
#include "worker/checkpoint/manifest.h"
#include "worker/data/batch_plan.h"

namespace mantissa::trainer {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kIterations = 220;
constexpr std::int64_t kGrowthInterval = 12;
constexpr std::int64_t kSamples = 76;
constexpr std::int32_t kBatch = 16;  // four whole windows and one of 12 samples in an epoch
constexpr std::int32_t kAccumulation = 3;

std::string JobOf(const std::string& model, const std::string& mode) {
  const bool tokens = model.starts_with("gpt");
  const std::string data = tokens                             ? "classes: 11"
                           : model.starts_with("transformer") ? "shape: [4, 3]"
                           : model.starts_with("convnet")     ? "shape: [2, 4, 4]"
                                                              : "shape: 6";
  return "training { model { " + model + " } data { train { synthetic { samples: 76 " + data +
         " } } } precision { mode: " + mode +
         " loss_scale { init: 4e9 growth_interval: 12 } } batch_size: 16 accumulation: 3 iterations: 220 seed: 3 "
         "schedule { cosine { warmup_steps: 20 } } max_grad_norm: 0.5 }";
}

v1::RunAttempt AttemptWith(const std::string& job, std::int32_t attempt) {
  v1::RunAttempt run;
  run.set_job_id(kJob);
  run.set_attempt(attempt);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(job, run.mutable_spec())) << job;
  return run;
}

// The records, and what the final checkpoint holds: its files by hash, its counters and scaler.
std::map<std::string, std::string> BitsOfEnd(const RunFolder& folder, const AttemptSeen& end,
                                             const std::vector<v1::Segment>& segments) {
  EXPECT_EQ(end.ended.state(), v1::Attempt::SUCCEEDED) << end.ended.message();
  std::map<std::string, std::string> bits = RecordBits(segments);
  bits.erase("PHASE");  // an attempt's own
  const auto manifest =
      ParseManifest(RunFolder::Read(folder.checkpoints() / end.saved.back().path() / "MANIFEST.json"));
  EXPECT_TRUE(manifest.ok()) << manifest.status();
  for (const ManifestFile& file : manifest->files) bits[file.name] = file.sha256;
  bits["scaler"] = absl::StrCat(absl::Hex(std::bit_cast<std::uint32_t>(manifest->scaler.loss_scale)), " ",
                                manifest->scaler.growth_tracker, " ", manifest->scaler.hysteresis_tracker, " ",
                                manifest->scaler.skips_in_row);
  bits["counters"] = absl::StrCat(manifest->iteration, " ", manifest->step, " ", manifest->lineage);
  return bits;
}

// Where a stop comes: between two micro-batches.
struct Point {
  std::string name;
  std::int64_t iteration = 0;    // whole ones before it
  std::int64_t micro_batch = 0;  // of the next one, begun and given up
};

// The run asks before every micro-batch, a replay before each of its own and the run once after it. Number of the
// question at this point, from 1. `whole`: the same run to its end.
int QuestionAt(const Point& point, const AttemptSeen& whole) {
  const BatchPlan plan({.samples = kSamples, .batch_size = kBatch, .accumulation = kAccumulation});
  std::int64_t questions = 1 + point.micro_batch;
  for (std::int64_t window = 0; window < point.iteration; ++window) questions += plan.MicroBatches(window);
  for (const v1::JobEvent& event : whole.events()) {
    if (!event.overflow().has_location() || event.iteration() > point.iteration) continue;
    const v1::OverflowLocation& found = event.overflow().location();
    questions +=
        1 + (found.stage() == v1::OverflowLocation::NOT_REPRODUCED ? found.micro_batches() : found.micro_batch());
  }
  return static_cast<int>(questions);
}

std::vector<Point> PointsOf(const AttemptSeen& whole, bool scaled) {
  std::vector<Point> points = {{"in the middle of an epoch", 122, 0}, {"in an accumulation window", 130, 2}};
  if (!scaled) {
    // There is no scale: the same places as counted in iterations.
    points.push_back({"in mid-run", 61, 0});
    points.push_back({"near the end", 219, 1});
    return points;
  }
  std::vector<std::int64_t> tracker = IntegersIn(whole.segments, v1::Column::GROWTH_TRACKER);
  std::vector<bool> applied;
  for (const v1::Segment& segment : whole.segments) {
    const v1::Column* column = ColumnOf(segment.records(), v1::Column::APPLIED);
    if (column == nullptr) continue;
    applied.insert(applied.end(), column->bools().values().begin(), column->bools().values().end());
  }
  EXPECT_EQ(tracker.size(), static_cast<std::size_t>(kIterations));
  EXPECT_EQ(applied.size(), static_cast<std::size_t>(kIterations));
  std::int64_t in_growth = 0;
  std::int64_t after_overflow = 0;
  std::int64_t in_search = 0;
  for (std::int64_t i = 0; i + 20 < kIterations; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (i > 30 && tracker.at(at) == kGrowthInterval / 2) in_growth = i + 1;
    if (i > 30 && !applied.at(at)) after_overflow = i + 1;
    if (i < 30 && !applied.at(at)) in_search = i + 1;
  }
  EXPECT_GT(in_growth, 0) << "no growth window in mid-run";
  EXPECT_GT(after_overflow, 0) << "no overflow in mid-run";
  EXPECT_GT(in_search, 0) << "no overflow at the beginning";
  points.push_back({"in the middle of a growth window", in_growth, 0});
  points.push_back({"right after an overflow", after_overflow, 0});
  points.push_back({"in the scale's search, in an accumulation window", in_search, 1});
  return points;
}

class ResumePointsTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(ResumePointsTest, AnInterruptionChangesNothing) {
  const auto& [model, mode] = GetParam();
  const std::string job = JobOf(model, mode);
  const RunFolder undisturbed;
  const AttemptSeen whole = RunIn(undisturbed, AttemptWith(job, 1));
  ASSERT_EQ(whole.ended.state(), v1::Attempt::SUCCEEDED) << whole.ended.message();
  EXPECT_GE(whole.ended.result().steps(), 200 - (mode == "FP16" ? 20 : 0));
  const auto expected = BitsOfEnd(undisturbed, whole, whole.segments);

  for (const Point& point : PointsOf(whole, mode == "FP16")) {
    SCOPED_TRACE(point.name + ", iteration " + std::to_string(point.iteration));
    const RunFolder folder;
    FakeControl control(QuestionAt(point, whole), /*checkpoint=*/true);
    const AttemptSeen first = RunIn(folder, AttemptWith(job, 1), {.control = &control});
    ASSERT_EQ(first.ended.state(), v1::Attempt::CANCELLED) << first.ended.message();
    ASSERT_THAT(first.saved, SizeIs(1));
    ASSERT_EQ(first.saved[0].iteration(), point.iteration);
    v1::RunAttempt second = AttemptWith(job, 2);
    *second.add_resume_from() = first.saved[0];
    const AttemptSeen rest = RunIn(folder, second);
    std::vector<v1::Segment> both = first.segments;
    both.insert(both.end(), rest.segments.begin(), rest.segments.end());
    EXPECT_THAT(Differences(BitsOfEnd(folder, rest, both), expected), IsEmpty());
    EXPECT_THAT(ReasonsOf(rest.events()), ::testing::Not(::testing::Contains("RESUME_NOT_BITWISE")));
  }
}

INSTANTIATE_TEST_SUITE_P(
    EveryModelAndPrecision, ResumePointsTest,
    ::testing::Combine(::testing::Values("mlp { hidden: 12 dropout: 0.25 }",
                                         "transformer_encoder { layers: 2 d_model: 8 heads: 2 dropout: 0.1 }",
                                         "gpt { layers: 1 d_model: 8 heads: 2 context: 6 dropout: 0.1 }",
                                         "convnet { channels: [3, 4] }"),
                       ::testing::Values("FP32", "BF16", "FP16")),
    [](const auto& info) {
      const std::string& model = std::get<0>(info.param);
      const char* name = model.starts_with("mlp")       ? "Mlp"
                         : model.starts_with("gpt")     ? "Gpt"
                         : model.starts_with("convnet") ? "Convnet"
                                                        : "TransformerEncoder";
      return name + std::get<1>(info.param);
    });

}  // namespace
}  // namespace mantissa::trainer
