// Between LibTorch's dispatcher and the kernel that draws first values.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "worker/kernels/initial_values/initial_values_check.h"
#include "worker/kernels/initial_values/initial_values_cuda.h"

namespace mantissa::trainer::kernels {
namespace {

void FillInitialCuda(at::Tensor values, std::int64_t seed, std::int64_t parameter, double width, bool normal) {
  const InitialDraw draw = CheckInitial(values, seed, parameter, width, normal);
  const c10::cuda::CUDAGuard guard(values.device());
  cuda::LaunchFillInitial(draw, values.numel(), values.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

TORCH_LIBRARY_IMPL(mantissa, CUDA, library) { library.impl("fill_initial_", FillInitialCuda); }

}  // namespace
}  // namespace mantissa::trainer::kernels
