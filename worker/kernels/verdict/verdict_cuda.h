// The CUDA twin of verdict.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::cuda {

// One of `loss_sum` and `wide_loss_sum` is null. All on the stream's device.
void LaunchVerdict(const GradientStats* stats, std::int64_t parameter_count, const float* loss_sum,
                   const double* wide_loss_sum, double targets, const ScalerSettings* settings, StepState* state,
                   cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
