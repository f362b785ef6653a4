// The beginning of an iteration: one thread decides while all of them write zeros. The same bits as the CPU twin.
#include "worker/amp/step_decisions.h"
#include "worker/kernels/begin_iteration/begin_iteration_cuda.h"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;
// Some 8 on each of an H100's 132 processors.
constexpr std::int64_t kMaxBlocks = 1056;

__global__ void Begin(const StepState* state, double targets, float* seed, float* gradients,
                      std::int64_t gradient_count, bool aligned, const WindowRange* skipped, std::int64_t skipped_count,
                      std::int64_t* window) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  const std::int64_t fours = aligned ? gradient_count / 4 : 0;
  for (std::int64_t i = thread; i < fours; i += stride) {
    reinterpret_cast<float4*>(gradients)[i] = make_float4(0, 0, 0, 0);
  }
  for (std::int64_t i = fours * 4 + thread; i < gradient_count; i += stride) gradients[i] = 0;
  if (thread != 0) return;
  *seed = BackwardSeedOf(*state, targets);
  if (window != nullptr) *window = WindowAfter(skipped, skipped_count, state->iteration);
}

}  // namespace

void LaunchBeginIteration(const StepState* state, double targets, float* seed, float* gradients,
                          std::int64_t gradient_count, const WindowRange* skipped, std::int64_t skipped_count,
                          std::int64_t* window, cudaStream_t stream) {
  // A few float4 for each thread.
  const std::int64_t wanted = gradient_count / (kThreads * 16) + 1;
  Begin<<<static_cast<unsigned>(wanted < kMaxBlocks ? wanted : kMaxBlocks), kThreads, 0, stream>>>(
      state, targets, seed, gradients, gradient_count, IsAlignedFor<float4>(gradients), skipped, skipped_count, window);
}

}  // namespace mantissa::trainer::cuda
