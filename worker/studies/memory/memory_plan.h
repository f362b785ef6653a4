// What is known of a training's memory from its spec alone, and what follows from a measured peak.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"

namespace mantissa::trainer {

// A precision and how weights are kept in it.
struct PlannedPrecision {
  v1::PrecisionSpec::Mode mode = v1::PrecisionSpec::FP32;
  v1::PrecisionSpec::Storage storage = v1::PrecisionSpec::FP32_PARAMETERS;

  bool operator==(const PlannedPrecision&) const = default;
};

// Those of the spec, each low one with either storage; without any FP32, BF16, and BF16 and FP16 with MASTER_FP32.
std::vector<PlannedPrecision> PrecisionsOf(const v1::MemoryPlan& plan);

// `training` in this precision, with an accumulation: where the micro-batch is the trainer's to choose, one sample.
// Overrides are of other precisions than FP32.
v1::TrainingSpec InPlanned(const v1::TrainingSpec& training, const PlannedPrecision& precision);

struct PlannedMemory {
  std::vector<v1::MemoryRow> groups;  // of layers of a type, in forward order; `other` last, running statistics
  v1::MemoryTotal total;              // without what is measured, and what follows from several of them
};

// `training` is as InPlanned gives it. The bytes of the groups add up to the total's but for casts and activations, and
// the total's parts to its estimate.
PlannedMemory PlanMemory(const v1::TrainingSpec& training, const spec::SampleShape& sample);

// The largest power of two of samples at once that takes at most `memory_bytes`; 0 when not even one does. Activations
// grow with the micro-batch, which has `micro_batch` samples in `total`; where its memory was measured, what that is
// beyond the rest counts instead of the estimate.
std::int32_t LargestBatch(const v1::MemoryTotal& total, std::int64_t micro_batch, std::int64_t memory_bytes);

// Shares against `full`, FP32 with FP32 parameters: of what was measured where both were, else of what is estimated.
void SetSavedShares(const v1::MemoryTotal& full, v1::MemoryPlanReport& report);

// One paragraph, of a report that is complete.
std::string MemoryFinding(const v1::MemoryPlanReport& report, std::int64_t memory_bytes);

}  // namespace mantissa::trainer
