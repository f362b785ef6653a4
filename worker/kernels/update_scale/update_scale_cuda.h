// The CUDA twin of update_scale.
#pragma once

#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::cuda {

// Both on the stream's device.
void LaunchUpdateScale(const ScalerSettings* settings, StepState* state, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
