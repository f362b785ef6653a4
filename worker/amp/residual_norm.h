// The step of a transformer's residual stream from one part to the next, in the number formats of the precision table.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "worker/amp/precision_policy.h"

namespace mantissa::trainer {

// What is added to the residual stream: (..., d), or undefined for nothing. Dropped with `probability` first, as
// PrecisionPolicy::Dropout does.
struct ResidualBranch {
  at::Tensor value;
  double probability = 0;
  const RandomKey& key;
  std::int32_t site = 0;
};

struct NormParameters {
  const at::Tensor& weight;  // (d)
  const at::Tensor& bias;
  double epsilon = 1e-5;
};

struct ResidualNormed {
  at::Tensor sum;   // x + branch, FP32; x itself without a branch
  at::Tensor norm;  // its layer norm, FP32; undefined where it was not wanted, as is low
  at::Tensor low;   // the norm rounded to a low format
};

// x (..., d) FP32. PrecisionPolicy's Dropout, Add and LayerNorm, and the cast that the reader of the norm would begin
// with; in one pass where the device has a kernel for it. Throws c10::Error where shapes do not fit.
ResidualNormed AddAndNorm(const at::Tensor& x, const ResidualBranch& branch, const NormParameters& parameters,
                          bool wants_norm, std::optional<at::ScalarType> low);

}  // namespace mantissa::trainer
