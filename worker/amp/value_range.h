// How close values come to the ends of a number format.
#pragma once

#include <cstddef>
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

// Measures tensors one after another without waiting for any: each is counted where it lies, and Read fetches what was
// counted, all at once. Of tensors on one device. Not thread-safe.
class RangeMeter {
 public:
  // Of all elements of `values`, which is FP32, with the magnitudes that FP32 arithmetic gives, against `format`.
  // Returns its place in what Read gives.
  std::size_t Add(const at::Tensor& values, const spec::NumberFacts& format);
  // In the order of Add. Waits for the device.
  std::vector<ValueRange> Read() const;

 private:
  static constexpr std::int64_t kRows = 256;  // zeroed at once

  std::vector<at::Tensor> counts_;   // (kRows, 4) each, a row for a tensor: RangeCounts
  std::vector<std::int64_t> sizes_;  // elements of each tensor
};

}  // namespace mantissa::trainer
