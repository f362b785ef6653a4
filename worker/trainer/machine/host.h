// Memory and processor of the machine, as this process may use them.
#pragma once

#include <cstdint>
#include <string>

#include <c10/core/Device.h>

namespace mantissa::trainer {

// Bytes of host memory that this process can still get: the least of what the machine has available, what its cgroup
// (v1 or v2) leaves and, where `limit_bytes` is above 0, what that leaves.
std::int64_t AvailableMemory(std::int64_t limit_bytes);

// All there is, or the cgroup's limit where that is less.
std::int64_t TotalMemory();

// Of this process in physical memory now.
std::int64_t ResidentMemory();

// Bytes that are free on the device: AvailableMemory on the CPU.
std::int64_t FreeMemory(c10::Device device, std::int64_t limit_bytes);

// Bytes that the run holds on its device: ResidentMemory on the CPU. What a recorded iteration takes for itself is held
// by its graph and not counted here; PeakMemory has seen it when it was recorded.
std::int64_t MemoryInUse(c10::Device device);

// The most that MemoryInUse has been since the last reset, between two looks at it, too. On the CPU the kernel keeps it
// for the process; where it does not let the process reset it, it is that of the process's whole life.
std::int64_t PeakMemory(c10::Device device);
void ResetPeakMemory(c10::Device device);

// As the vendor calls the processor.
std::string CpuModel();

// Threads that this process may run at once.
int UsableThreads();

}  // namespace mantissa::trainer
