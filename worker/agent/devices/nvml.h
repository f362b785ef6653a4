#pragma once

#include <memory>
#include <string>

#include "worker/agent/devices/gpu_readings.h"

namespace mantissa::agent {

// NVIDIA's management library, opened when the process runs: a machine without a driver has none, and that is no fault.
// Whatever it does not offer, or fails at, is absent from the readings: a GPU that has fallen off the bus, a figure
// that a model lacks, the utilisation of a GPU in MIG mode. A call into it can take long, and for ever where the driver
// hangs. Not thread-safe.
class Nvml {
 public:
  explicit Nvml(std::string library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // Empty where the library is missing or is none of a kind that is known; looked for again at each call, so that a
  // driver that is installed later is found.
  GpuReadings Read();

 private:
  struct Functions;
  bool Open();

  const std::string library_;
  void* handle_ = nullptr;
  std::unique_ptr<Functions> functions_;
  bool initialised_ = false;
};

}  // namespace mantissa::agent
