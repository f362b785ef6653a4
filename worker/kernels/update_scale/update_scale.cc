// The end of an iteration: counters, loss scale, limits.
#include <torch/library.h>

#include "worker/amp/step_decisions.h"
#include "worker/kernels/check.h"

namespace mantissa::trainer::kernels {
namespace {

void UpdateScaleCpu(const at::Tensor& settings, const at::Tensor& state) {
  AdvanceScale(*Struct<ScalerSettings>(settings, "settings"), Struct<StepState>(state, "state"));
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) { library.def("update_scale(Tensor settings, Tensor(a!) state) -> ()"); }
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("update_scale", UpdateScaleCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("update_scale", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
