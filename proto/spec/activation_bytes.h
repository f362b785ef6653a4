// What a forward and backward pass takes beside parameters, gradients and casts: counted op by op, from the spec alone.
// For proto/spec alone.
#pragma once

#include <cstdint>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"

namespace mantissa::spec {

// Bytes of `samples` at once at the moment that takes most: what the modules keep from forward to backward, as far as
// backward has not given it back, and the gradients under way. `low` is the bytes of the compute format; overrides are
// not looked at. Saturates. `model` has its defaults resolved and is valid.
std::int64_t ActivationBytes(const v1::Model& model, const SampleShape& sample, std::int64_t low, std::int64_t samples);

}  // namespace mantissa::spec
