// First values as PyTorch's nn.Linear, nn.LayerNorm and nn.MultiheadAttention have them.
#pragma once

#include <cstdint>

#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// Weights and biases of linear layers uniform in +-1/sqrt(inputs); norms one and zero. `.qkv` weights are Xavier
// uniform over the whole (3 d, d) matrix, biases of `.qkv` and `.proj` zero.
void InitialiseLikeLinear(ParameterBuffer& parameters, std::uint64_t seed);

}  // namespace mantissa::trainer
