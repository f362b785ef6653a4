// What a GPU's driver says of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace mantissa::agent {

// What the driver does not know, or does not tell, is absent.
struct GpuReading {
  unsigned index = 0;  // among all GPUs of the machine, in the order of the PCI bus: nvidia-smi's and DCGM's number
  std::string uuid;    // `GPU-…`
  std::string model;
  std::optional<double> utilisation_ratio;  // of the driver's last sample period, 0 to 1
  std::optional<double> memory_used_bytes;
  std::optional<double> memory_total_bytes;
  std::optional<double> power_watts;
  std::optional<double> temperature_celsius;

  // It has said something.
  bool Any() const {
    return !uuid.empty() || utilisation_ratio || memory_total_bytes || power_watts || temperature_celsius;
  }
};

struct GpuReadings {
  std::string driver_version;
  std::vector<GpuReading> gpus;
};

}  // namespace mantissa::agent
