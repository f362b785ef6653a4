#include "worker/agent/devices/nvml.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <dlfcn.h>
#include <utility>

namespace mantissa::agent {
namespace {

// Our own declarations of the few things used of NVML, which promises to keep them
// (docs.nvidia.com/deploy/nvml-api: Device Structs, Device Queries, Initialization and Cleanup).
using Return = int;             // nvmlReturn_t
constexpr Return kSuccess = 0;  // NVML_SUCCESS
using Device = void*;           // nvmlDevice_t
struct Utilization {            // nvmlUtilization_t, percent
  unsigned gpu, memory;
};
struct Memory {  // nvmlMemory_t, bytes
  unsigned long long total, free, used;
};
constexpr int kTemperatureOfGpu = 0;  // NVML_TEMPERATURE_GPU

// Larger than every length that NVML names for its texts (NVML_DEVICE_NAME_V2_BUFFER_SIZE is 96).
constexpr std::size_t kTextBytes = 128;
// More than a machine has; a count beyond it is not believed, and the series stay bounded.
constexpr unsigned kMostGpus = 64;

template <typename Function>
Function* Find(void* handle, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(handle, name));
}

template <typename... Given, typename... Taken>
std::string Text(Return (*function)(Taken...), Given... given) {
  std::array<char, kTextBytes> text{};
  if (function == nullptr || function(given..., text.data(), text.size() - 1) != kSuccess) return "";
  return text.data();
}

}  // namespace

struct Nvml::Functions {
  Return (*init)();
  Return (*shutdown)();
  Return (*count)(unsigned*);
  Return (*by_index)(unsigned, Device*);
  // These may be missing.
  Return (*driver_version)(char*, unsigned);
  Return (*uuid)(Device, char*, unsigned);
  Return (*name)(Device, char*, unsigned);
  Return (*utilization)(Device, Utilization*);
  Return (*memory)(Device, Memory*);
  Return (*power)(Device, unsigned*);  // milliwatts
  Return (*temperature)(Device, int, unsigned*);

  bool Usable() const { return init != nullptr && shutdown != nullptr && count != nullptr && by_index != nullptr; }
  GpuReading Read(unsigned index, Device device) const;
};

GpuReading Nvml::Functions::Read(unsigned index, Device device) const {
  GpuReading reading;
  reading.index = index;
  reading.uuid = Text(uuid, device);
  reading.model = Text(name, device);
  Utilization used{};
  if (utilization != nullptr && utilization(device, &used) == kSuccess && used.gpu <= 100) {
    reading.utilisation_ratio = used.gpu / 100.0;
  }
  Memory bytes{};
  if (memory != nullptr && memory(device, &bytes) == kSuccess) {
    reading.memory_used_bytes = static_cast<double>(bytes.used);
    reading.memory_total_bytes = static_cast<double>(bytes.total);
  }
  unsigned value = 0;
  if (power != nullptr && power(device, &value) == kSuccess) reading.power_watts = value / 1000.0;
  if (temperature != nullptr && temperature(device, kTemperatureOfGpu, &value) == kSuccess) {
    reading.temperature_celsius = value;
  }
  return reading;
}

Nvml::Nvml(std::string library) : library_(std::move(library)) {}

// The library stays loaded: it may have threads of its own.
Nvml::~Nvml() {
  if (initialised_) functions_->shutdown();
}

bool Nvml::Open() {
  if (functions_ == nullptr) {
    if (handle_ == nullptr) handle_ = ::dlopen(library_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) return false;
    const Functions found{
        .init = Find<Return()>(handle_, "nvmlInit_v2"),
        .shutdown = Find<Return()>(handle_, "nvmlShutdown"),
        .count = Find<Return(unsigned*)>(handle_, "nvmlDeviceGetCount_v2"),
        .by_index = Find<Return(unsigned, Device*)>(handle_, "nvmlDeviceGetHandleByIndex_v2"),
        .driver_version = Find<Return(char*, unsigned)>(handle_, "nvmlSystemGetDriverVersion"),
        .uuid = Find<Return(Device, char*, unsigned)>(handle_, "nvmlDeviceGetUUID"),
        .name = Find<Return(Device, char*, unsigned)>(handle_, "nvmlDeviceGetName"),
        .utilization = Find<Return(Device, Utilization*)>(handle_, "nvmlDeviceGetUtilizationRates"),
        .memory = Find<Return(Device, Memory*)>(handle_, "nvmlDeviceGetMemoryInfo"),
        .power = Find<Return(Device, unsigned*)>(handle_, "nvmlDeviceGetPowerUsage"),
        .temperature = Find<Return(Device, int, unsigned*)>(handle_, "nvmlDeviceGetTemperature"),
    };
    if (!found.Usable()) return false;
    functions_ = std::make_unique<Functions>(found);
  }
  if (!initialised_) initialised_ = functions_->init() == kSuccess;
  return initialised_;
}

GpuReadings Nvml::Read() {
  GpuReadings readings;
  if (!Open()) return readings;
  readings.driver_version = Text(functions_->driver_version);
  unsigned count = 0;
  if (functions_->count(&count) != kSuccess) return readings;
  for (unsigned index = 0; index < std::min(count, kMostGpus); ++index) {
    Device device = nullptr;
    if (functions_->by_index(index, &device) != kSuccess) continue;
    GpuReading reading = functions_->Read(index, device);
    // One that has fallen off the bus keeps its handle for a while and answers nothing.
    if (reading.Any()) readings.gpus.push_back(std::move(reading));
  }
  return readings;
}

}  // namespace mantissa::agent
