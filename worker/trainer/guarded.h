// LibTorch speaks in exceptions; here they end.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace mantissa::trainer {

// What `work` returns, or what it threw, with the reason for the attempt's end: OUT_OF_DEVICE_MEMORY with the remedy,
// or INTERNAL_ERROR. `field` of the spec is what took the memory.
absl::Status Guarded(const std::string& field, const std::string& device_name,
                     const std::function<absl::Status()>& work);

}  // namespace mantissa::trainer
