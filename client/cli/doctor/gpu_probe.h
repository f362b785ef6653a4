// The GPUs and the driver of this machine, as far as they can be seen without linking to either.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mantissa::cli {

struct GpuFacts {
  bool device_files = false;   // /dev/nvidia0: a kernel driver is loaded
  bool library = false;        // libnvidia-ml.so.1 is there and answers
  std::string error;           // what the library said when it did not
  std::string driver_version;  // 580.82.07
  int cuda_version = 0;        // newest the driver serves: 13000 for 13.0
  struct Gpu {
    std::string name;
    std::int64_t memory_bytes = 0;
    std::string compute_capability;
  };
  std::vector<Gpu> gpus;
};

// Asks NVML, opened at run time.
GpuFacts ProbeGpus();

}  // namespace mantissa::cli
