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

// Nothing can be recorded.
int32_t Refuse(char* error, int64_t error_size) {
  std::snprintf(error, static_cast<std::size_t>(error_size), "it has no graphs");
  return 1;
}
int32_t Record(MantissaWork, void*, MantissaGraph*, MantissaGraph**, char* error, int64_t error_size) {
  return Refuse(error, error_size);
}
int32_t Launch(MantissaGraph*, char* error, int64_t error_size) { return Refuse(error, error_size); }
int64_t PoolBytes(const MantissaGraph*) { return 0; }
void Forget(MantissaGraph*) {}
int32_t MapMemory(int64_t, void**, void**, char* error, int64_t error_size) { return Refuse(error, error_size); }
void UnmapMemory(void*) {}
int32_t Poll(char*, int64_t) { return 0; }

}  // namespace

extern "C" const MantissaDeviceApi* mantissa_device_api() {
  static const MantissaRecorder recorder = {Record, Launch, PoolBytes, Forget, MapMemory, UnmapMemory, Poll};
  static const MantissaDeviceApi api = {MANTISSA_DEVICE_ABI, TORCH_VERSION, MANTISSA_BUILD_ID,
                                        DeviceCount,         Describe,      recorder};
  return &api;
}
