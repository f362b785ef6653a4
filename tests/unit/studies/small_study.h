// A study small enough to be run in a test.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/studies/study_place.h"
#include "tests/unit/trainer/small_run.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

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
  auto study = From<v1::StudySpec>(spec);
  const v1::TrainingSpec small = SmallSpec(training).training();
  if (study.has_precision_comparison()) *study.mutable_precision_comparison()->mutable_training() = small;
  if (study.has_format_table()) *study.mutable_format_table()->mutable_training() = small;
  if (study.has_gradient_analysis()) *study.mutable_gradient_analysis()->mutable_training() = small;
  if (study.has_scaler_study()) *study.mutable_scaler_study()->mutable_training() = small;
  const TickingClock clock(std::chrono::microseconds(100));
  StudyPlace place;
  place.precisions = conditions.precisions;
  place.threads = conditions.threads;
  place.memory_limit_bytes = conditions.memory_limit_bytes;
  place.clock = &clock;
  StudySeen seen{absl::OkStatus(), {}, FakeObserver(conditions.stop_after)};
  seen.status = RunStudy(study, place.environment(), seen.observer, seen.report);
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
