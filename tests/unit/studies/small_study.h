// A study small enough to be run in a test, and somebody who watches it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

// Asks for a stop once so many cases are done; never without a number.
class FakeObserver final : public StudyObserver {
 public:
  explicit FakeObserver(std::int32_t stop_after = -1) : stop_after_(stop_after) {}

  bool stop_requested() override { return stop_after_ >= 0 && done >= stop_after_; }
  void Done(std::int32_t count, std::int32_t all, const std::string& what) override {
    EXPECT_GE(count, done);
    EXPECT_LE(count, all);
    if (total == 0) {
      EXPECT_EQ(count, 0) << "how many there are is said before the first is done";
    } else {
      EXPECT_EQ(all, total) << "there are as many as were said";
    }
    done = count;
    total = all;
    said.push_back(what);
  }

  std::int32_t done = 0;
  std::int32_t total = 0;
  std::vector<std::string> said;

 private:
  const std::int32_t stop_after_;
};

struct StudyConditions {
  std::int32_t stop_after = -1;
  std::vector<v1::PrecisionSpec::Mode> precisions = {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16,
                                                     v1::PrecisionSpec::BF16};
  std::int64_t memory_limit_bytes = 0;
  std::int32_t threads = 1;
};

struct StudySeen {
  absl::Status status;
  v1::Report report;
  FakeObserver observer;
};

// `spec` is text of a StudySpec; `training` of SmallSpec's training is put where its kind has one.
inline StudySeen RunSmallStudy(const std::string& spec, const std::string& training = "",
                               const StudyConditions& conditions = {}) {
  v1::StudySpec study;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(spec, &study)) << spec;
  const v1::TrainingSpec small = SmallSpec(training).training();
  if (study.has_precision_comparison()) *study.mutable_precision_comparison()->mutable_training() = small;
  if (study.has_format_table()) *study.mutable_format_table()->mutable_training() = small;
  if (study.has_gradient_analysis()) *study.mutable_gradient_analysis()->mutable_training() = small;
  if (study.has_scaler_study()) *study.mutable_scaler_study()->mutable_training() = small;
  const TickingClock clock(std::chrono::microseconds(100));
  const process::Roots roots;
  const StudyEnvironment environment{.device = at::kCPU,
                                     .device_name = "cpu",
                                     .precisions = conditions.precisions,
                                     .threads = conditions.threads,
                                     .memory_limit_bytes = conditions.memory_limit_bytes,
                                     .roots = roots,
                                     .clock = clock};
  StudySeen seen{absl::OkStatus(), {}, FakeObserver(conditions.stop_after)};
  seen.status = RunStudy(study, environment, seen.observer, seen.report);
  return seen;
}

// What of a report follows from its spec alone: not times, and what is concluded from them.
inline std::string ComparableText(v1::Report report) {
  report.clear_elapsed();
  if (!report.has_precision_comparison()) return report.SerializeAsString();
  report.clear_finding();
  v1::PrecisionComparisonReport& comparison = *report.mutable_precision_comparison();
  for (v1::PrecisionRow& row : *comparison.mutable_precisions()) {
    for (const int field : {v1::PrecisionRow::kMedianSecondsFieldNumber, v1::PrecisionRow::kP95SecondsFieldNumber,
                            v1::PrecisionRow::kSamplesPerSecondFieldNumber, v1::PrecisionRow::kSpeedupFieldNumber,
                            v1::PrecisionRow::kSpeedupLowFieldNumber, v1::PrecisionRow::kSpeedupHighFieldNumber}) {
      row.GetReflection()->ClearField(&row, row.GetDescriptor()->FindFieldByNumber(field));
    }
  }
  comparison.clear_recommended();
  comparison.clear_reasons();
  return report.SerializeAsString();
}

}  // namespace mantissa::trainer
