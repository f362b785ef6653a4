// Element types, as safetensors and as LibTorch name them.
#pragma once

#include <optional>

#include <c10/core/ScalarType.h>

#include "worker/checkpoint/safetensors.h"

namespace mantissa::trainer {

// Nothing for a type that the other does not have, or that no state of ours has.
std::optional<TensorType> TypeOf(at::ScalarType type);
std::optional<at::ScalarType> ScalarTypeOf(TensorType type);

}  // namespace mantissa::trainer
