// Activations and their derivatives over FP32 arrays on CPU.
#pragma once

#include <cstdint>

namespace mantissa::trainer::cpu {

// The numbers of mantissa::trainer::Activation, as they travel through the dispatcher.
enum class ActivationKind : std::int64_t { kNone = 0, kRelu = 1, kGelu = 2, kTanh = 3 };

// True for the ones whose derivative is read off the result; GELU needs what went in.
constexpr bool DerivativeFromResult(ActivationKind kind) { return kind != ActivationKind::kGelu; }

// In place. NaN stays NaN.
void Activate(ActivationKind kind, std::int64_t count, float* values);
// gradient *= derivative, given the result or, for GELU, what went in.
void ActivateBackward(ActivationKind kind, std::int64_t count, const float* saved, float* gradient);

}  // namespace mantissa::trainer::cpu
