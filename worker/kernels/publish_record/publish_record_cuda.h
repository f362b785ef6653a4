// The CUDA twin of publish_record.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::cuda {

// `state`, `stats` and `cursor` on the stream's device; `ring` is memory that the host sees, of `slots` slots.
void LaunchPublishRecord(const StepState* state, const GradientStats* stats, std::int64_t parameter_count,
                         std::int64_t* cursor, unsigned char* ring, std::int64_t slots, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
