// What the libnvidia-ml.so.1 of the tests says and does; the real library's tests are tests/gpu's.
#pragma once

namespace mantissa::agent {

struct FakeNvml {
  int init_result = 0;
  unsigned gpus = 2;
  int lost = -1;              // the index of a GPU that has fallen off the bus: it has no handle
  int silent = -1;            // and of one that has its handle still, and answers nothing
  int refused_figure = -1;    // see the enumeration; it is not supported
  unsigned utilisation = 50;  // percent

  enum Figure { kUtilisation, kMemory, kPower, kTemperature, kUuid, kName };
};

// Of the library, found with dlsym.
inline constexpr char kFakeNvmlState[] = "FakeNvmlState";
using FakeNvmlStateFunction = FakeNvml*();

}  // namespace mantissa::agent
