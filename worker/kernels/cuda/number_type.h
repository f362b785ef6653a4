// The number types of activations, for the launchers, which know nothing of ATen.
#pragma once

namespace mantissa::trainer::cuda {

enum class NumberType { kFloat, kHalf, kBfloat16 };

}  // namespace mantissa::trainer::cuda
