// The plug-in's side of worker/trainer/device_api.h.
#include "worker/trainer/device_api.h"

#include <cstdint>
#include <cstdio>
#include <cuda_runtime_api.h>

#include <torch/headeronly/version.h>

#include "worker/kernels/graph/recorder.h"

namespace mantissa::trainer {
namespace {

// The runtime keeps the error of a failed call for whoever asks next, which would be an innocent operation.
void ForgetError() { static_cast<void>(cudaGetLastError()); }

// 0 as well where the driver is missing or too old for this CUDA.
std::int32_t DeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  ForgetError();
  return 0;
}

std::int32_t Describe(std::int32_t device, MantissaDeviceFacts* facts, char* error, std::int64_t error_size) {
  cudaDeviceProp properties;
  const cudaError_t result = cudaGetDeviceProperties(&properties, device);
  if (result != cudaSuccess) {
    std::snprintf(error, static_cast<std::size_t>(error_size), "%s (%s)", cudaGetErrorString(result),
                  cudaGetErrorName(result));
    ForgetError();
    return 1;
  }
  std::snprintf(facts->name, sizeof(facts->name), "%s", properties.name);
  facts->memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  facts->capability_major = properties.major;
  facts->capability_minor = properties.minor;
  return 0;
}

const MantissaDeviceApi kApi = {MANTISSA_DEVICE_ABI, TORCH_VERSION, MANTISSA_BUILD_ID,
                                DeviceCount,         Describe,      kRecorder};

}  // namespace
}  // namespace mantissa::trainer

extern "C" __attribute__((visibility("default"))) const MantissaDeviceApi* mantissa_device_api() {
  return &mantissa::trainer::kApi;
}
