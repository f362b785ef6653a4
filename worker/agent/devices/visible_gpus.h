// Which of the machine's GPUs a trainer's CUDA device is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "worker/agent/devices/gpu_readings.h"

namespace mantissa::agent {

// The machine's index of the CUDA device with this ordinal, given CUDA_VISIBLE_DEVICES (empty: all are visible) and
// CUDA's numbering by PCI bus, which TrainerEnvironment asks for. The variable names indices, or the beginnings of
// UUIDs, which `readings` resolve. Absent where it can't be told, and for an instance of a GPU in MIG mode
// (docs.nvidia.com/cuda/cuda-c-programming-guide, "CUDA Environment Variables").
std::optional<unsigned> GpuIndexOf(unsigned ordinal, std::string_view visible_devices, const GpuReadings& readings);

}  // namespace mantissa::agent
