// A libnvidia-ml.so.1 with two GPUs that do as FakeNvml says; with ONLY_WHAT_IS_NEEDED, one of the oldest kind that is
// read.
#include "tests/unit/agent_devices/fake_nvml.h"

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

using mantissa::agent::FakeNvml;

constexpr int kNotSupported = 3, kGpuIsLost = 15;
FakeNvml state;

unsigned IndexOf(void* device) { return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(device)) - 1; }

[[maybe_unused]] int Check(void* device, FakeNvml::Figure figure) {
  if (static_cast<int>(IndexOf(device)) == state.silent) return kGpuIsLost;
  return state.refused_figure == figure ? kNotSupported : 0;
}

}  // namespace

extern "C" {

FakeNvml* FakeNvmlState() { return &state; }

int nvmlInit_v2() { return state.init_result; }
int nvmlShutdown() { return 0; }
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = state.gpus;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (static_cast<int>(index) == state.lost) return kGpuIsLost;
  *device = reinterpret_cast<void*>(static_cast<std::uintptr_t>(index) + 1);
  return 0;
}
int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  const int checked = Check(device, FakeNvml::kUuid);
  if (checked == 0) std::snprintf(text, size, "GPU-%u", IndexOf(device));
  return checked;
}

#ifndef ONLY_WHAT_IS_NEEDED

struct Utilization {
  unsigned gpu, memory;
};
struct Memory {
  unsigned long long total, free, used;
};

int nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::snprintf(text, size, "%s", "580.1");
  return 0;
}
int nvmlDeviceGetName(void* device, char* text, unsigned size) {
  const int checked = Check(device, FakeNvml::kName);
  if (checked == 0) std::snprintf(text, size, "%s", "Fake H100");
  return checked;
}
int nvmlDeviceGetUtilizationRates(void* device, Utilization* rates) {
  *rates = {state.utilisation, 10};
  return Check(device, FakeNvml::kUtilisation);
}
int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  *memory = {80'000'000'000ULL, 60'000'000'000ULL, 20'000'000'000ULL};
  return Check(device, FakeNvml::kMemory);
}
int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  *milliwatts = 350'500 + IndexOf(device) * 1'000;
  return Check(device, FakeNvml::kPower);
}
int nvmlDeviceGetTemperature(void* device, int sensor, unsigned* celsius) {
  *celsius = 61;
  return sensor == 0 ? Check(device, FakeNvml::kTemperature) : kNotSupported;
}

#endif
}
