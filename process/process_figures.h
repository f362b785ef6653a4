// What the kernel says of this process, under the names that Prometheus' client libraries give it
// (prometheus.io/docs/instrumenting/writing_clientlibs, "Process metrics").
#pragma once

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

}  // namespace mantissa::process
