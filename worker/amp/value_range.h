// How close values come to the ends of a number format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "proto/spec/precision_table.h"

namespace mantissa::trainer {

struct ValueRange {
  double max = 0;             // largest finite magnitude
  double flushed_ratio = 0;   // share of the values that are not zero and would be in the format
  double near_max_ratio = 0;  // share within 2x of the format's largest, or above it
};

struct ModuleRange {
  std::string module;
  ValueRange activation;  // of its output
  // Of the gradient of that; flushed_ratio is the larger of the share there and among the gradients of the module's own
  // parameters.
  ValueRange gradient;
};

struct ModuleRanges {
  std::int64_t samples = 0;
  double loss_scale = 1;             // that the gradients carry
  std::vector<ModuleRange> modules;  // in forward order
  std::int64_t module_count = 0;     // before the best were left out
};

// Of all elements; `values` is FP32, with the magnitudes that FP32 arithmetic gives. Waits for the device.
ValueRange MeasureRange(const at::Tensor& values, const spec::NumberFacts& format);

}  // namespace mantissa::trainer
