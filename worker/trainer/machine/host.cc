#include "worker/trainer/machine/host.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <limits>
#include <sched.h>
#include <string>
#include <unistd.h>

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>

#include "process/file_descriptor.h"

namespace mantissa::trainer {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// The value of a line `key:   123 kB`; kUnlimited when it is not there.
std::int64_t MemoryInfo(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::int64_t kilobytes = 0;
  std::string unit;
  while (file >> name >> kilobytes) {
    std::getline(file, unit);
    if (name == key + ":") return kilobytes * 1024;
  }
  return kUnlimited;
}

// The value of a line of /proc/self/status, `VmHWM:   123 kB`; 0 when it is not there.
std::int64_t StatusBytes(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::atoll(line.c_str() + key.size() + 1) * 1024;
  }
  return 0;
}

// A file with one number, where `max` and absence mean none.
std::int64_t NumberIn(const std::string& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  return file >> number ? number : kUnlimited;
}

struct Cgroup {
  std::int64_t limit = kUnlimited;
  std::int64_t used = 0;
};

// Of this process: its own folder where the hierarchy shows the whole tree, else the hierarchy's root (in a container).
Cgroup ReadCgroup() {
  Cgroup cgroup;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const bool unified = line.rfind("0::", 0) == 0;
    const std::size_t memory = line.find(":memory:");
    if (!unified && memory == std::string::npos) continue;
    const std::string path = unified ? line.substr(3) : line.substr(memory + 8);
    const std::string mount = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (const std::string& folder : {mount + path + "/", mount + "/"}) {
      const std::int64_t limit = NumberIn(folder + (unified ? "memory.max" : "memory.limit_in_bytes"));
      const std::int64_t used = NumberIn(folder + (unified ? "memory.current" : "memory.usage_in_bytes"));
      if (limit < cgroup.limit && used != kUnlimited) cgroup = {limit, used};
    }
  }
  return cgroup;
}

// The allocator's bytes. It knows no device before one has been used.
c10::CachingAllocator::Stat Allocated(c10::Device device) {
  at::globalContext().lazyInitDevice(device.type());
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return at::accelerator::getDeviceStats(device.index()).allocated_bytes[kAll];
}

}  // namespace

std::int64_t AvailableMemory(std::int64_t limit_bytes) {
  const Cgroup cgroup = ReadCgroup();
  std::int64_t available = MemoryInfo("MemAvailable");
  if (cgroup.limit != kUnlimited)
    available = std::min(available, std::max<std::int64_t>(0, cgroup.limit - cgroup.used));
  if (limit_bytes > 0) available = std::min(available, std::max<std::int64_t>(0, limit_bytes - ResidentMemory()));
  return available;
}

std::int64_t TotalMemory() { return std::min(MemoryInfo("MemTotal"), ReadCgroup().limit); }

std::int64_t ResidentMemory() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0;
  std::int64_t resident = 0;
  return file >> size >> resident ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

std::int64_t FreeMemory(c10::Device device, std::int64_t limit_bytes) {
  if (device.is_cpu()) return AvailableMemory(limit_bytes);
  return static_cast<std::int64_t>(at::accelerator::getMemoryInfo(device.index()).first);
}

std::int64_t MemoryInUse(c10::Device device) {
  if (device.is_cpu()) return ResidentMemory();
  return Allocated(device).current;
}

std::int64_t PeakMemory(c10::Device device) {
  if (device.is_cpu()) return std::max(StatusBytes("VmHWM"), ResidentMemory());
  return Allocated(device).peak;
}

void ResetPeakMemory(c10::Device device) {
  if (device.is_cpu()) {
    // Opened once: in the sandbox nothing in /proc can be opened for writing.
    static const process::FileDescriptor marks(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
    // "5": the high-water mark, and nothing else. Where it can't be set back, the peak is the process's.
    [[maybe_unused]] const ssize_t reset = ::pwrite(marks.get(), "5", 1, 0);
  } else {
    at::globalContext().lazyInitDevice(device.type());
    at::accelerator::resetPeakStats(device.index());
  }
}

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

int UsableThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace mantissa::trainer
