// A run as a host hears of it, to be compared with the same run on another engine; and runs that are worth comparing.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/boundary_plan.h"
#include "worker/trainer/engine.h"

namespace mantissa::trainer {

// Everything of a report but its time and rate.
inline std::string TextOf(const IterationReport& report) {
  const IterationRecord& record = report.record;
  std::string text =
      absl::StrCat(record.iteration, " ", record.step, " ", record.lineage, " ",
                   absl::Hex(std::bit_cast<std::uint64_t>(record.loss)), " ", record.loss_scale, " ",
                   record.next_loss_scale, " ", record.applied, " ", static_cast<int>(record.cause), " ",
                   absl::Hex(std::bit_cast<std::uint64_t>(record.grad_norm.value_or(-1))), " ", record.learning_rate,
                   " ", record.growth_tracker, " ", record.hysteresis_tracker, " ", static_cast<int>(record.halt));
  for (const Offender& offender : report.offenders) {
    absl::StrAppend(&text, " ", offender.parameter, ":", offender.inf_count, ":", offender.nan_count);
  }
  return text;
}

struct Course {
  std::vector<std::string> reports;
  std::vector<std::map<std::string, std::string>> boundaries;  // the state's bits at each
  StepState end;
};

// Until the run is over or has halted.
inline Course Follow(SmallRun& run, Engine& engine, const BoundaryPlanOptions& boundaries) {
  Course course;
  FakeControl control;
  const BoundaryPlan plan(boundaries);
  while (const std::optional<Boundary> goal = plan.Next(engine.progress())) {
    const bool reached = engine.RunUntil(*goal, control);
    bool halted = false;
    for (const IterationReport& report : engine.Poll()) {
      course.reports.push_back(TextOf(report));
      halted = report.record.halt != Halt::kNone;
    }
    if (halted) break;
    if (!reached) continue;
    // The truth on the device is what the host was told.
    EXPECT_EQ(run.state().step_state().iteration, engine.progress().iteration);
    EXPECT_TRUE(goal->ReachedBy(engine.progress()));
    course.boundaries.push_back(BitsOf(run.state()));
  }
  course.end = run.state().step_state();
  return course;
}

inline void ExpectSame(const Course& late, const Course& prompt) {
  EXPECT_EQ(late.reports, prompt.reports);
  ASSERT_EQ(late.boundaries.size(), prompt.boundaries.size());
  for (std::size_t i = 0; i < late.boundaries.size(); ++i) {
    EXPECT_THAT(Differences(late.boundaries[i], prompt.boundaries[i]), ::testing::IsEmpty()) << "at boundary " << i;
  }
  EXPECT_EQ(std::memcmp(&late.end, &prompt.end, sizeof(StepState)), 0);
}

// A few samples among many that no precision can train on.
inline std::unique_ptr<Dataset> DataWithBadSamples(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> sizes = shape;
  sizes.insert(sizes.begin(), 96);
  at::manual_seed(5);
  at::Tensor features = at::randn(sizes);
  features[7].fill_(std::numeric_limits<float>::quiet_NaN());
  features[58].fill_(std::numeric_limits<float>::quiet_NaN());
  return std::make_unique<FeatureDataset>(features, at::arange(96).remainder(3), 3);
}

// Model, its data, and their shape where they are features.
struct Subject {
  std::string spec;
  std::vector<std::int64_t> shape;
};

inline const std::map<std::string, Subject>& Subjects() {
  static const auto* subjects = new std::map<std::string, Subject>{
      {"mlp", {"model { mlp { hidden: 12 dropout: 0.25 } }", {6}}},
      {"transformer", {"model { transformer_encoder { layers: 1 d_model: 8 heads: 2 dropout: 0.25 } }", {3, 6}}},
      {"convnet", {"model { convnet { channels: [3, 4] } }", {2, 4, 4}}},
      {"gpt",
       {"model { gpt { layers: 1 d_model: 8 heads: 2 context: 4 dropout: 0.25 } } "
        "data { train { synthetic { samples: 96 classes: 5 } } }",
        {}}}};
  return *subjects;
}

}  // namespace mantissa::trainer
