// The beginning of an iteration: one thread decides while all of them write zeros. The same bits as the CPU twin.
#include "worker/amp/step_decisions.h"
#include "worker/kernels/begin_iteration/begin_iteration_cuda.h"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/cuda/launch.cuh"

namespace mantissa::trainer::cuda {
namespace {

__global__ void Begin(const StepState* state, double targets, float* seed, float* gradients, bool aligned,
                      const Chunk* zeroed, std::int64_t zeroed_count, const WindowRange* skipped,
                      std::int64_t skipped_count, std::int64_t* window) {
  WaitForPrevious();
  const auto nothing = [](const Chunk&) { return 0; };
  const auto one = [&](int, std::int64_t i) { gradients[i] = 0; };
  const auto four = [&](int, std::int64_t i) { *reinterpret_cast<float4*>(gradients + i) = make_float4(0, 0, 0, 0); };
  ForChunkPieces(zeroed, zeroed_count, aligned, nothing, four, one);
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  *seed = BackwardSeedOf(*state, targets);
  if (window != nullptr) *window = WindowAfter(skipped, skipped_count, state->iteration);
}

}  // namespace

void LaunchBeginIteration(const StepState* state, double targets, float* seed, float* gradients, const Chunk* zeroed,
                          std::int64_t zeroed_count, const WindowRange* skipped, std::int64_t skipped_count,
                          std::int64_t* window, cudaStream_t stream) {
  LaunchKernel(Begin, PieceBlocks(zeroed_count), kPieceThreads, 0, stream, state, targets, seed, gradients,
               IsAligned16(gradients), zeroed, zeroed_count, skipped, skipped_count, window);
}

}  // namespace mantissa::trainer::cuda
