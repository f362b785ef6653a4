// The GPU under test, and the plug-in that main has opened for it.
#pragma once

#include <c10/core/Device.h>

#include "worker/trainer/device_api.h"

namespace mantissa::trainer {

inline const c10::Device kGpu(c10::kCUDA, 0);

const MantissaDeviceApi& OpenedPlugin();

}  // namespace mantissa::trainer
