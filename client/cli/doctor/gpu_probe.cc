#include "client/cli/doctor/gpu_probe.h"

#include <algorithm>
#include <array>
#include <dlfcn.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace mantissa::cli {
namespace {

// NVML's own types, so that its header is not needed (nvml.h, stable since CUDA 5).
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
using NvmlReturn = int;

// The functions of one opened library. Not thread-safe.
class Nvml {
 public:
  Nvml() : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  ~Nvml() {
    if (library_ != nullptr) ::dlclose(library_);
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  bool open() const { return library_ != nullptr; }

  // What the function returns, or a code of our own when the library has no such function.
  template <typename... Arguments>
  NvmlReturn Call(const char* name, Arguments... arguments) const {
    const auto function = reinterpret_cast<NvmlReturn (*)(Arguments...)>(::dlsym(library_, name));
    return function == nullptr ? kNoFunction : function(arguments...);
  }

  std::string ErrorText(NvmlReturn code) const {
    const auto function = reinterpret_cast<const char* (*)(NvmlReturn)>(::dlsym(library_, "nvmlErrorString"));
    const char* text = function == nullptr ? nullptr : function(code);
    return text == nullptr ? absl::StrCat("NVML error ", code) : text;
  }

 private:
  static constexpr NvmlReturn kNoFunction = 13;  // NVML_ERROR_FUNCTION_NOT_FOUND
  void* const library_;
};

GpuFacts::Gpu Describe(const Nvml& nvml, NvmlDevice device) {
  GpuFacts::Gpu gpu;
  std::array<char, 96> name = {};
  if (nvml.Call("nvmlDeviceGetName", device, name.data(), static_cast<unsigned int>(name.size())) == 0) {
    gpu.name = name.data();
  }
  NvmlMemory memory = {};
  if (nvml.Call("nvmlDeviceGetMemoryInfo", device, &memory) == 0) {
    gpu.memory_bytes = static_cast<std::int64_t>(memory.total);
  }
  int major = 0, minor = 0;
  if (nvml.Call("nvmlDeviceGetCudaComputeCapability", device, &major, &minor) == 0) {
    gpu.compute_capability = absl::StrCat(major, ".", minor);
  }
  return gpu;
}

}  // namespace

GpuFacts ProbeGpus() {
  GpuFacts facts;
  facts.device_files = ::access("/dev/nvidia0", F_OK) == 0;
  const Nvml nvml;
  if (!nvml.open()) return facts;
  if (const NvmlReturn started = nvml.Call("nvmlInit_v2"); started != 0) {
    facts.error = nvml.ErrorText(started);
    return facts;
  }
  facts.library = true;
  std::array<char, 96> version = {};
  if (nvml.Call("nvmlSystemGetDriverVersion", version.data(), static_cast<unsigned int>(version.size())) == 0) {
    facts.driver_version = version.data();
  }
  nvml.Call("nvmlSystemGetCudaDriverVersion_v2", &facts.cuda_version);
  unsigned int count = 0;
  nvml.Call("nvmlDeviceGetCount_v2", &count);
  for (unsigned int i = 0; i < std::min(count, 64U); ++i) {
    NvmlDevice device = nullptr;
    if (nvml.Call("nvmlDeviceGetHandleByIndex_v2", i, &device) == 0) facts.gpus.push_back(Describe(nvml, device));
  }
  nvml.Call("nvmlShutdown");
  return facts;
}

}  // namespace mantissa::cli
