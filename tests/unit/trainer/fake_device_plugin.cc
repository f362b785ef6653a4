// A plug-in without a GPU: one device that works and one that does not.
#include <cstdio>
#include <cstring>

#include <torch/headeronly/version.h>

#include "worker/trainer/device_api.h"

namespace {

int32_t DeviceCount() { return 2; }

int32_t Describe(int32_t device, MantissaDeviceFacts* facts, char* error, int64_t error_size) {
  if (device != 0) {
    std::snprintf(error, static_cast<std::size_t>(error_size), "it fell off the bus");
    return 1;
  }
  std::strcpy(facts->name, "Fake GPU");
  facts->memory_bytes = int64_t{80} << 30;
  facts->capability_major = 9;
  facts->capability_minor = 0;
  return 0;
}

}  // namespace

extern "C" const MantissaDeviceApi* mantissa_device_api() {
  static const MantissaDeviceApi api = {MANTISSA_DEVICE_ABI, TORCH_VERSION, MANTISSA_BUILD_ID, DeviceCount, Describe};
  return &api;
}
