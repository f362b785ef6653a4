// Shared memory beyond the 48 KiB that a block may have without asking.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace mantissa::trainer::cuda {

// Whether blocks of this kernel may have so many bytes on the current device: 227 KiB on an H100, 163 on an A100, 99 on
// GPUs for desktops.
template <class Kernel>
bool MayShare(Kernel* kernel, std::int64_t bytes) {
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)) ==
      cudaSuccess) {
    return true;
  }
  cudaGetLastError();  // not for whoever asks next
  return false;
}

}  // namespace mantissa::trainer::cuda
