#include "worker/trainer/micro_batch.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "proto/spec/defaults.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const spec::SampleShape kSample = {.features = {1024}, .classes = 10};

v1::TrainingSpec Training(const std::string& changes) {
  v1::JobSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "training { model { mlp { hidden: 256 } } data { train { synthetic { shape: 1024 } } } batch_size: 64 "
      "precision { mode: FP32 } " +
          changes + " }",
      &spec))
      << changes;
  return spec::ResolveDefaults(spec).training();
}

std::int64_t TotalAt(const v1::TrainingSpec& training, std::int64_t micro_batch) {
  return EstimateAt(training, kSample, micro_batch).Total();
}

TEST(MicroBatchTest, AMicroBatchAndItsPartsLeadBackToEachOther) {
  for (std::int32_t batch = 1; batch <= 70; ++batch) {
    for (std::int64_t wanted = 1; wanted <= batch; ++wanted) {
      const std::int32_t parts = AccumulationFor(batch, wanted);
      const std::int64_t micro_batch = MicroBatchOf(batch, parts);
      EXPECT_LE(micro_batch, wanted);
      EXPECT_EQ(AccumulationFor(batch, micro_batch), parts) << batch << " " << wanted;
    }
  }
}

TEST(MicroBatchTest, TheLargestIsTheLastThatFits) {
  const v1::TrainingSpec training = Training("micro_batch: AUTO");
  for (std::int64_t micro_batch = 1; micro_batch <= 64; ++micro_batch) {
    const std::int64_t budget = TotalAt(training, micro_batch);
    const std::int64_t largest = LargestMicroBatch(training, kSample, budget);
    EXPECT_LE(TotalAt(training, largest), budget);
    EXPECT_EQ(largest, MicroBatchOf(64, AccumulationFor(64, micro_batch)));
    EXPECT_LT(LargestMicroBatch(training, kSample, budget - 1), micro_batch);
  }
  EXPECT_EQ(LargestMicroBatch(training, kSample, TotalAt(training, 1) - 1), 0);
  EXPECT_EQ(LargestMicroBatch(training, kSample, INT64_MAX), 64);
  EXPECT_EQ(LargestMicroBatch(training, kSample, 0), 0);
  EXPECT_EQ(LargestMicroBatch(training, kSample, -1), 0);
}

TEST(CheckMemoryTest, WhatFitsPassesAndWhatDoesNotIsToldWhatWould) {
  const v1::TrainingSpec training = Training("accumulation: 2");
  EXPECT_TRUE(CheckMemory(training, kSample, TotalAt(training, 32), "cpu").ok());
  const absl::Status refused = CheckMemory(training, kSample, TotalAt(training, 32) - 1, "cpu");
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("training.model"), HasSubstr("micro-batches of 32 samples"), HasSubstr("free on cpu"),
                    HasSubstr("at most 22 samples would fit; set accumulation to 3")));
  const absl::Status one = CheckMemory(training, kSample, TotalAt(training, 1), "cpu");
  EXPECT_THAT(std::string(one.message()), HasSubstr("at most 1 sample would fit; set accumulation to 64"));
  const absl::Status none = CheckMemory(training, kSample, TotalAt(training, 1) - 1, "cpu");
  EXPECT_THAT(std::string(none.message()), HasSubstr("not even one sample fits; use a smaller model"));
}

TEST(ChooseMicroBatchTest, TheEstimateLeavesAQuarterFree) {
  const v1::TrainingSpec training = Training("micro_batch: AUTO");
  const auto chosen = ChooseMicroBatch(training, kSample, TotalAt(training, 16) * 4 / 3 + 4, "cpu", nullptr);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->micro_batch(), 16);
  EXPECT_EQ(chosen->accumulation(), 4);
  EXPECT_EQ(chosen->estimated_bytes(), TotalAt(training, 16));
  EXPECT_EQ(chosen->measured_peak_bytes(), 0);
  EXPECT_THAT(chosen->refused(), IsEmpty());
}

TEST(ChooseMicroBatchTest, AllOfAWindowWhereThereIsRoomAndOneSampleWhereThereIsHardlyAny) {
  const v1::TrainingSpec training = Training("micro_batch: AUTO");
  EXPECT_EQ(ChooseMicroBatch(training, kSample, INT64_MAX / 2, "cpu", nullptr)->micro_batch(), 64);
  EXPECT_EQ(ChooseMicroBatch(training, kSample, TotalAt(training, 1), "cpu", nullptr)->micro_batch(), 1);
  EXPECT_TRUE(absl::IsResourceExhausted(
      ChooseMicroBatch(training, kSample, TotalAt(training, 1) - 1, "cpu", nullptr).status()));
}

TEST(ChooseMicroBatchTest, ATrialBeginsAtTwiceTheEstimateAndHalvesUntilTheDeviceHasRoom) {
  const v1::TrainingSpec training = Training("micro_batch: AUTO");
  std::vector<std::int64_t> tried;
  const auto device_of = [&tried](std::int64_t most) -> MicroBatchTrial {
    return [&tried, most](std::int64_t micro_batch) -> std::optional<std::int64_t> {
      tried.push_back(micro_batch);
      return micro_batch <= most ? std::optional<std::int64_t>(1000 * micro_batch) : std::nullopt;
    };
  };
  const std::int64_t free = TotalAt(training, 16);
  const auto as_hoped = ChooseMicroBatch(training, kSample, free, "gpu", device_of(64));
  ASSERT_TRUE(as_hoped.ok());
  EXPECT_EQ(as_hoped->micro_batch(), 32);
  EXPECT_EQ(as_hoped->measured_peak_bytes(), 32'000);
  EXPECT_THAT(tried, ElementsAre(32));
  tried.clear();
  const auto less = ChooseMicroBatch(training, kSample, free, "gpu", device_of(5));
  EXPECT_EQ(less->micro_batch(), 4);
  EXPECT_EQ(less->accumulation(), 16);
  EXPECT_EQ(less->measured_peak_bytes(), 4'000);
  EXPECT_THAT(tried, ElementsAre(32, 16, 8, 4));
  EXPECT_THAT(less->refused(), ElementsAre(32, 16, 8));
  tried.clear();
  const auto none = ChooseMicroBatch(training, kSample, free, "gpu", device_of(0));
  EXPECT_TRUE(absl::IsResourceExhausted(none.status()));
  EXPECT_THAT(tried, ElementsAre(32, 16, 8, 4, 2, 1));
}

}  // namespace
}  // namespace mantissa::trainer
