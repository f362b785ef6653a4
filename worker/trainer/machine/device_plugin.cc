#include "worker/trainer/machine/device_plugin.h"

#include <array>
#include <climits>
#include <cstring>
#include <dlfcn.h>
#include <string_view>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <torch/headeronly/version.h>

namespace mantissa::trainer {
namespace {

absl::Status Differs(const char* what, const std::string& theirs, const std::string& ours) {
  return absl::FailedPreconditionError(absl::StrCat("the CUDA plug-in has ", what, " ", theirs, ", this trainer ", ours,
                                                    "; install both from one build"));
}

std::string TextOf(const char* text) { return text == nullptr ? "(none)" : text; }

}  // namespace

std::string DefaultPluginPath() {
  std::array<char, PATH_MAX> path;
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  std::string program(path.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  return program.substr(0, program.rfind('/') + 1) + "libmantissa_cuda.so";
}

absl::Status CheckDevicePlugin(const MantissaDeviceApi& api) {
  if (api.abi != MANTISSA_DEVICE_ABI) {
    return Differs("boundary number", absl::StrCat(api.abi), absl::StrCat(MANTISSA_DEVICE_ABI));
  }
  if (TextOf(api.torch_version) != TORCH_VERSION) {
    return Differs("LibTorch", TextOf(api.torch_version), TORCH_VERSION);
  }
  if (TextOf(api.build_id) != MANTISSA_BUILD_ID) return Differs("build", TextOf(api.build_id), MANTISSA_BUILD_ID);
  const MantissaRecorder& recorder = api.recorder;
  if (api.device_count == nullptr || api.describe == nullptr || recorder.record == nullptr ||
      recorder.launch == nullptr || recorder.pool_bytes == nullptr || recorder.forget == nullptr ||
      recorder.map_memory == nullptr || recorder.unmap_memory == nullptr || recorder.poll == nullptr) {
    return absl::FailedPreconditionError("the CUDA plug-in lacks functions; install it again");
  }
  return absl::OkStatus();
}

absl::StatusOr<const MantissaDeviceApi*> OpenDevicePlugin(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return absl::UnavailableError(absl::StrCat("the CUDA plug-in could not be opened: ", ::dlerror(),
                                               "; build it with nvcc and install the CUDA libraries of torch"));
  }
  void* symbol = ::dlsym(library, MANTISSA_DEVICE_API_SYMBOL);
  if (symbol == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not a CUDA plug-in of Mantissa: it has no ", MANTISSA_DEVICE_API_SYMBOL));
  }
  const MantissaDeviceApi* api = reinterpret_cast<MantissaDeviceApiFunction>(symbol)();
  if (absl::Status checked = CheckDevicePlugin(*api); !checked.ok()) return checked;
  return api;
}

absl::StatusOr<MantissaDeviceFacts> DescribeDevice(const MantissaDeviceApi& api, std::int32_t device) {
  const std::int32_t count = api.device_count();
  if (device < 0 || device >= count) {
    return absl::NotFoundError(absl::StrCat("there is no CUDA device ", device, ": ", count,
                                            " are visible; check the driver and CUDA_VISIBLE_DEVICES"));
  }
  MantissaDeviceFacts facts = {};
  std::array<char, 512> error = {};
  if (api.describe(device, &facts, error.data(), error.size()) != 0) {
    return absl::UnavailableError(absl::StrCat("CUDA device ", device, " cannot be used: ", error.data()));
  }
  return facts;
}

}  // namespace mantissa::trainer
