// Launching a kernel that may begin before the one ahead of it on the stream has ended: its blocks take their places
// meanwhile, and wait. Between short kernels that is a good part of the time. (Programmatic dependent launch, CUDA C++
// Programming Guide; from compute capability 9.0 on, before it kernels wait for one another as ever.)
#pragma once

#include <cstddef>
#include <cuda_runtime.h>

namespace mantissa::trainer::cuda {

// The first statement of every kernel, on the way of every thread: before it nothing may be read or written that an
// earlier kernel touches. Every kernel waits so until the one ahead has ended, and with it all before that one.
__device__ inline void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  // The next one's blocks may come now: they wait for this whole kernel's end.
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Whether the current device lets kernels begin so early; asked once for each thread.
inline bool MayBeginEarly() {
  static thread_local int of_device = -1;
  static thread_local bool may = false;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return false;
  if (device != of_device) {
    int major = 0;
    may = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
    of_device = device;
  }
  return may;
}

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...), early where that can be. The kernel begins with
// WaitForPrevious. cudaGetLastError tells whether the launch failed.
template <class... Parameters, class... Arguments>
void LaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                  Arguments&&... arguments) {
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = MayBeginEarly() ? 1 : 0;
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, static_cast<Arguments&&>(arguments)...));
}

}  // namespace mantissa::trainer::cuda
