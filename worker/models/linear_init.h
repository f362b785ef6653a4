// First values as PyTorch's nn.Linear, nn.Conv2d, nn.LayerNorm and nn.MultiheadAttention have them.
#pragma once

#include <cstdint>

#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// Weights and biases of linear layers and convolutions uniform in +-1/sqrt(inputs), where a convolution's inputs are
// those of one kernel; norms one and zero; embeddings normal with deviation 0.02, as GPT-2's. `.qkv` weights are Xavier
// uniform over the whole (3 d, d) matrix, biases of `.qkv` and `.proj` zero.
void InitialiseLikeLinear(ParameterBuffer& parameters, std::uint64_t seed);

}  // namespace mantissa::trainer
