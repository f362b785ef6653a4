// Opens the CUDA plug-in.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "worker/trainer/device_api.h"

namespace mantissa::trainer {

// `libmantissa_cuda.so` beside the running program.
std::string DefaultPluginPath();

// The process's very first act when it owns a GPU: one tensor or one backward pass before it, and LibTorch has decided
// that there is no CUDA. The library is never closed. Errors say what is missing or different and how to mend it.
absl::StatusOr<const MantissaDeviceApi*> OpenDevicePlugin(const std::string& path);

// Whether a plug-in belongs to this program: FAILED_PRECONDITION names what differs.
absl::Status CheckDevicePlugin(const MantissaDeviceApi& api);

absl::StatusOr<MantissaDeviceFacts> DescribeDevice(const MantissaDeviceApi& api, std::int32_t device);

}  // namespace mantissa::trainer
