// Reports made up for tests of how they are shown.
#pragma once

#include <string>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "mantissa/v1/report.pb.h"

namespace mantissa::cli {

inline v1::Report ReportFrom(const std::string& text) {
  v1::Report report;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &report)) << text;
  return report;
}

// With more points of its curves than are shown.
inline v1::Report ComparisonReport() {
  v1::Report report = ReportFrom(R"pb(
    finding: "BF16 trains this model as well as FP32 does, 1.42 times as fast: its loss is 0.0021 from FP32's, and FP32's own seeds are 0.0048 from each other. FP16 skipped 4.2 % of its iterations."
    limits: "150 iterations say nothing of what happens later."
    limits: "Three seeds make a wide interval: between 1.38 and 1.45 times as fast, and nothing narrower can be said of it."
    device: "cpu"
    torch_version: "2.11.0"
    elapsed { seconds: 34 nanos: 200000000 }
    precision_comparison {
      precisions {
        precision: FP32
        verdict: REFERENCE
        median_seconds: 0.00213
        p95_seconds: 0.0025
        samples_per_second: 30046
        loss: 0.1234
        noise: 0.0048
        eval_loss: 0.2
        skipped_share: 0
        peak_memory_bytes: 12582912
        parameter_bytes: 78888
        gradient_bytes: 78888
        optimizer_bytes: 157776
        activation_bytes: 65536
      }
      precisions {
        precision: BF16
        verdict: WITHIN_NOISE
        median_seconds: 0.0015
        p95_seconds: 0.00171
        samples_per_second: 42666
        speedup: 1.42
        speedup_low: 1.38
        speedup_high: 1.45
        loss: 0.1255
        distance: 0.0021
        distance_low: 0.0012
        distance_high: 0.003
        noise: 0.0048
        eval_loss: 0.21
        skipped_share: 0
        peak_memory_bytes: 11534336
        parameter_bytes: 78888
        gradient_bytes: 78888
        optimizer_bytes: 157776
        activation_bytes: 32768
      }
      precisions {
        precision: TF32
        verdict: UNSUPPORTED
        note: "this CPU has no arithmetic for TF32; precision.emulate rounds operands to it"
      }
      precisions {
        precision: FP16
        verdict: DIFFERENT
        median_seconds: 0.0019
        p95_seconds: 0.002
        samples_per_second: 33684
        speedup: 1.12
        speedup_low: 1.1
        speedup_high: 1.14
        loss: 0.2
        distance: 0.0766
        distance_low: 0.05
        distance_high: 0.1
        noise: 0.0048
        skipped_share: 0.042
        parameter_bytes: 78888
        gradient_bytes: 78888
        optimizer_bytes: 157776
        activation_bytes: 32768
      }
      recommended: BF16
      reasons: "it is the fastest precision that is WITHIN_NOISE"
      reasons: "FP16 is slower, and farther from FP32 than its seeds are"
    })pb");
  for (int i = 0; i < 23; ++i) {
    v1::LossCurvePoint& point = *report.mutable_precision_comparison()->add_curves();
    point.set_precision(i % 2 == 0 ? v1::PrecisionSpec::FP32 : v1::PrecisionSpec::BF16);
    point.set_seed(7);
    point.set_iteration(10 * (i / 2) + 1);
    point.set_loss(2.3 / (i + 1));
  }
  return report;
}

inline v1::Report FailureReport() {
  return ReportFrom(R"pb(
    finding: "1 of 2 modes failed here."
    partial: true
    failure_modes {
      modes {
        mode: SMALL_EPSILON
        precision: FP16
        outcome: REMEDIED
        quantity: "largest update"
        reference: 0.1
        low: inf
        remedied: 0.1001
        what_happened: "1e-8 is 0 in FP16, and a moment of 0 was divided by it: the update is Inf."
        remedy: "Moments and epsilon in FP32, as our optimizers keep them."
      }
      modes {
        mode: LARGE_REDUCTION
        precision: BF16
        outcome: NOT_SHOWN
        quantity: "sum of 100,000 ones"
        reference: 100000
        low: 100000
        what_happened: "The sum was kept in FP32."
      }
    })pb");
}

inline v1::Report GradientReport() {
  return ReportFrom(R"pb(
    finding: "A scale of 2^14 loses nothing."
    gradient_analysis {
      parameters {
        parameter: "head.weight"
        elements: 1234567
        exact_zero_share: 0.25
        median_log2: -13.5
        subnormal_share: 0.4
        flushed_share: 0.00012
      }
      scales { loss_scale: 1 subnormal_share: 0.4 flushed_share: 0.00012 }
      scales { loss_scale: 16384 best: true }
      scales { loss_scale: 16777216 overflow_share: 1e-7 skipped_share: 1 }
      checks { loss_scale: 0 loss: 0.31 note: "FP32" }
      checks { loss_scale: 16384 loss: 0.3101 }
      checks { loss_scale: 0.5 skipped_iterations: 3 }
      best_loss_scale: 16384
    })pb");
}

}  // namespace mantissa::cli
