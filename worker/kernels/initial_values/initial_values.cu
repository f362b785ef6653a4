// A thread draws four elements at a time; the arithmetic is some hundred double operations for them, little beside what
// the same draws cost a CPU.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/initial_values/initial_values_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMaxBlocks = 4096;

__global__ void FillInitial(kernels::InitialDraw draw, std::int64_t count, float* values) {
  WaitForPrevious();
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; group * 4 < count;
       group += stride) {
    const kernels::InitialFour four = kernels::DrawInitial(draw, group);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (group * 4 + i < count) values[group * 4 + i] = four.value[i];
    }
  }
}

}  // namespace

void LaunchFillInitial(const kernels::InitialDraw& draw, std::int64_t count, float* values, cudaStream_t stream) {
  if (count == 0) return;
  const std::int64_t blocks = ((count + 3) / 4 + kThreads - 1) / kThreads;
  LaunchKernel(FillInitial, static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks), kThreads, 0, stream, draw,
               count, values);
}

}  // namespace mantissa::trainer::cuda
