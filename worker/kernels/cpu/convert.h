// Between FP32 and the two low formats on CPU, rounding to nearest even, as the hardware does: overflow becomes Inf,
// subnormals are kept, NaN stays NaN.
#pragma once

#include <cstdint>

#include <c10/core/ScalarType.h>

namespace mantissa::trainer::cpu {

// `low`: at::kHalf or at::kBFloat16; at::kFloat copies.
void Narrow(at::ScalarType low, const float* from, std::int64_t count, void* to);
void Widen(at::ScalarType low, const void* from, std::int64_t count, float* to);
// FP32 values that `low` can hold. `to` may be `from`.
void RoundThrough(at::ScalarType low, const float* from, std::int64_t count, float* to);
// to += round(from): how a low-precision gradient reaches an FP32 one.
void RoundAndAdd(at::ScalarType low, const float* from, std::int64_t count, float* to);

}  // namespace mantissa::trainer::cpu
