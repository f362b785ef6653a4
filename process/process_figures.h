// What the kernel says of this process, under the names that Prometheus' client libraries give it
// (prometheus.io/docs/instrumenting/writing_clientlibs, "Process metrics").
#pragma once

#include <cstdint>
#include <vector>

namespace mantissa::process {

struct ProcessFigure {
  const char* name;
  const char* help;
  bool counter;  // else a gauge
  double value;  // base unit: seconds, bytes
};

// Read from /proc/self now; one that can't be read is left out. Thread-safe.
std::vector<ProcessFigure> ReadProcessFigures();

// Resident memory alone, at the cost of one system call or three; 0 where it can't be read. Thread-safe.
std::int64_t ResidentBytes();

}  // namespace mantissa::process
