// Failures of single operations: a few tensors each, the same on every device. All are functions of the seed.
#pragma once

#include <cstdint>

#include <c10/core/Device.h>

#include "worker/studies/failures/experiment.h"

namespace mantissa::trainer {

Experiment SoftmaxOverflow(std::uint64_t seed, c10::Device device);
Experiment LargeReduction(std::uint64_t seed, c10::Device device);
Experiment SmallEpsilon(std::uint64_t seed, c10::Device device);
Experiment LostUpdates(std::uint64_t seed, c10::Device device);
Experiment EmbeddingGradients(std::uint64_t seed, c10::Device device);

}  // namespace mantissa::trainer
