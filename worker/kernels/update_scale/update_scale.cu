// The end of an iteration on the device: counters, loss scale, limits. One thread; the decision itself is written once,
// in amp/step_decisions.h.
#include "worker/amp/step_decisions.h"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/update_scale/update_scale_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

__global__ void Advance(const ScalerSettings* settings, StepState* state) {
  WaitForPrevious();
  AdvanceScale(*settings, state);
}

}  // namespace

void LaunchUpdateScale(const ScalerSettings* settings, StepState* state, cudaStream_t stream) {
  LaunchKernel(Advance, 1, 1, 0, stream, settings, state);
}

}  // namespace mantissa::trainer::cuda
