// What a run of ours must have in common with a golden (step-local exactness and a trajectory), on any device.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/golden/engine/golden_run.h"

namespace mantissa::trainer {

// Of engine.md: a golden's loss is met to this, relatively.
inline double LossTolerance(v1::PrecisionSpec::Mode mode) {
  switch (mode) {
    case v1::PrecisionSpec::BF16:
      return 2e-3;
    case v1::PrecisionSpec::FP16:
      return 5e-4;
    default:
      return 1e-6;
  }
}

// From 1 to the next number of the compute type.
inline double Epsilon(v1::PrecisionSpec::Mode mode) {
  switch (mode) {
    case v1::PrecisionSpec::BF16:
      return 0x1p-7;
    case v1::PrecisionSpec::FP16:
      return 0x1p-10;
    default:
      return 0x1p-23;
  }
}

// False for elements whose true gradient is zero, which rounding moves at random by whole learning rates.
inline at::Tensor Meaningful(const Golden& golden, Subject& subject) {
  const nlohmann::json zeros = golden.Said("structural_zeros");
  std::vector<at::Tensor> parts;
  for (const Parameter& parameter : subject.parameters()) {
    at::Tensor part = at::ones({parameter.value.numel()}, at::kBool);
    if (const auto range = zeros.find(parameter.shape.path); range != zeros.end()) {
      part.slice(0, range->at(0).get<std::int64_t>(), range->at(1).get<std::int64_t>()).fill_(false);
    }
    parts.push_back(part);
  }
  return at::cat(parts);
}

inline void ExpectTheSameParameters(const Golden& golden, Subject& subject) {
  ASSERT_EQ(golden.Said("parameters").size(), subject.parameters().size());
  for (std::size_t i = 0; i < subject.parameters().size(); ++i) {
    ASSERT_EQ(golden.Said("parameters")[i], subject.parameters()[i].shape.path);
  }
}

// The golden's largest distance from the gradients in FP64.
inline double LargestOwnError(const nlohmann::json& iterations) {
  double largest = 0;
  for (const auto& [name, said] : iterations.items()) {
    largest = std::max(largest, said.at("gradient_error").get<double>());
  }
  return largest;
}

// Where a run computes.
enum class Place {
  kAsRecorded,  // on a CPU like the one that the golden was made on
  // Also a CPU with other vector units. Its own rounding errors add to the golden's, so the two are up to the sum of
  // both apart. At these states PyTorch on an H200 is as far from FP64 as on the golden's CPU, in FP32 up to 1.5 times
  // (tests/gpu/golden_distance.py); three times the golden's own error is asked, as of a trajectory.
  kAnotherDevice,
};

// Each recorded iteration, from its recorded state, has PyTorch's loss, gradients and skip.
inline void ExpectRecordedIterations(const Golden& golden, Subject& subject, Place place = Place::kAsRecorded) {
  const nlohmann::json iterations = golden.Said("iterations");
  ASSERT_EQ(iterations.size(), 20u);
  const bool elsewhere = place == Place::kAnotherDevice;
  for (const auto& [name, said] : iterations.items()) {
    SCOPED_TRACE("iteration " + name);
    subject.GoTo(std::stoi(name));
    subject.Iterate();
    const double loss = said.at("loss");
    EXPECT_NEAR(subject.step().loss, loss, LossTolerance(golden.mode()) * std::abs(loss));
    ASSERT_EQ(subject.skipped(), said.at("skipped").get<bool>());
    if (subject.skipped()) continue;
    const at::Tensor gradients = golden.Part(std::stoi(name), "gradients");
    // What backward loses on its way to a parameter is relative to the largest gradient that it passes; and a golden is
    // no truer than its own distance from the gradients in FP64.
    const double own = elsewhere ? 3 * LargestOwnError(iterations) : said.at("gradient_error").get<double>();
    const double largest = gradients.abs().max().item<double>();
    std::int64_t at = 0;
    for (std::size_t i = 0; i < subject.parameters().size(); ++i) {
      const Parameter& parameter = subject.parameters()[i];
      const at::Tensor theirs = gradients.narrow(0, at, parameter.value.numel()).view(parameter.value.sizes());
      at += parameter.value.numel();
      const at::Tensor& value = parameter.value;
      const std::int64_t fan_in = value.dim() > 1 ? value.numel() / value.size(0) : value.size(0);
      const double allowed =
          std::max(own, 4 * Epsilon(golden.mode()) * std::sqrt(static_cast<double>(fan_in)) * largest);
      EXPECT_LE((subject.Gradient(i) - theirs).abs().max().item<double>(), allowed) << parameter.shape.path;
    }
  }
}

// All iterations from the first recorded state end as close to PyTorch's as its own runs do to each other.
inline void ExpectTrajectory(const Golden& golden, Subject& subject) {
  const nlohmann::json losses = golden.Said("losses");
  subject.GoTo(0);
  std::vector<int> skipped;
  double spread = 0;
  for (int i = 0; i < static_cast<int>(losses.size()); ++i) {
    subject.Iterate();
    spread = std::max(spread, std::abs(subject.step().loss - losses[i].get<double>()));
    if (subject.skipped()) skipped.push_back(i);
  }
  EXPECT_EQ(nlohmann::json(skipped), golden.Said("skipped"));
  EXPECT_GE(skipped.size(), golden.mode() == v1::PrecisionSpec::FP16 ? 3u : 0u);

  const at::Tensor meaningful = Meaningful(golden, subject);
  const at::Tensor theirs = golden.Tensor("end.parameters");
  const at::Tensor apart = (subject.Values() - theirs).to(at::kDouble);
  const double distance =
      (apart.masked_select(meaningful).norm() / theirs.to(at::kDouble).masked_select(meaningful).norm()).item<double>();
  const double floor = golden.mode() == v1::PrecisionSpec::FP32 ? 2e-4 : 0;
  EXPECT_LE(distance, std::max(3 * golden.Said("distance").get<double>(), floor));
  EXPECT_LE(spread, std::max(3 * golden.Said("loss_distance").get<double>(), floor));
  const double learning_rate = golden.training().optimizer().adamw().learning_rate();
  const double wandered = apart.masked_fill(meaningful, 0).abs().max().item<double>();
  EXPECT_LE(wandered, 2 * learning_rate * static_cast<double>(losses.size()));
  testing::Test::RecordProperty("distance", std::to_string(distance));
  testing::Test::RecordProperty("loss_distance", std::to_string(spread));
}

}  // namespace mantissa::trainer
