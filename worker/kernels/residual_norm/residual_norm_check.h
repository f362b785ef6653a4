// What the fused kernels of residual_norm take; all else is left to LibTorch's ops.
#pragma once

#include <cstdint>

namespace mantissa::trainer::kernels {

// The widest row that a block keeps in registers.
inline constexpr std::int64_t kMostNormWidth = 4096;

}  // namespace mantissa::trainer::kernels
