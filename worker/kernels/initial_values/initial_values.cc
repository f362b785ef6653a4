// First values of parameters: a pure function of (seed, parameter, element), so the same whatever else is drawn, and on
// every device.
#include <torch/library.h>

#include "worker/kernels/cpu/parallel.h"
#include "worker/kernels/initial_values/initial_values_check.h"

namespace mantissa::trainer::kernels {
namespace {

void FillInitialCpu(at::Tensor values, std::int64_t seed, std::int64_t parameter, double width, bool normal) {
  const InitialDraw draw = CheckInitial(values, seed, parameter, width, normal);
  float* const to = values.mutable_data_ptr<float>();
  const std::int64_t count = values.numel();
  cpu::ForRange((count + 3) / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      const InitialFour four = DrawInitial(draw, group);
      for (int i = 0; i < 4 && group * 4 + i < count; ++i) to[group * 4 + i] = four.value[i];
    }
  });
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  // Uniform in [-width, width), or normal with that deviation.
  library.def("fill_initial_(Tensor(a!) values, int seed, int parameter, float width, bool normal) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("fill_initial_", FillInitialCpu); }

}  // namespace
}  // namespace mantissa::trainer::kernels
