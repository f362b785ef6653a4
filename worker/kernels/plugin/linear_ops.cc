// Between LibTorch's dispatcher and the kernels of small linear layers. Nothing here waits for the device or allocates.
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "worker/kernels/linear/small_linear_check.h"
#include "worker/kernels/linear/small_linear_cuda.h"
#include "worker/kernels/plugin/device_check.h"

namespace mantissa::trainer::kernels {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

template <class T>
T* DataOf(const Optional& tensor) {
  return tensor.has_value() && tensor->defined() ? static_cast<T*>(tensor->data_ptr()) : nullptr;
}

void CheckOptional(const at::Device& device, const Optional& tensor) {
  if (tensor.has_value() && tensor->defined()) CheckOnDevice(device, {*tensor});
}

cuda::SmallLinear LayerOf(const Tensor& y, const Tensor& x, const Tensor& weight, std::int64_t activation,
                          const Optional& activation_value) {
  const cpu::LinearShape shape = CheckSmallLinear(y, x, weight, activation, activation_value);
  // Indices are 32-bit.
  TORCH_CHECK(shape.rows <= 1024 && shape.in <= 1024 && shape.out <= 1024, "no side may be longer than 1024");
  CheckOnDevice(y.device(), {x, weight});
  CheckOptional(y.device(), activation_value);
  cuda::SmallLinear layer;
  layer.rows = static_cast<int>(shape.rows);
  layer.in = static_cast<int>(shape.in);
  layer.out = static_cast<int>(shape.out);
  layer.compute = y.scalar_type() == at::kHalf ? cuda::NumberType::kHalf : cuda::NumberType::kBfloat16;
  layer.activation = static_cast<int>(activation);
  layer.x = x.const_data_ptr();
  layer.x_is_float = x.scalar_type() == at::kFloat;
  layer.weight = weight.const_data_ptr();
  layer.weight_is_float = weight.scalar_type() == at::kFloat;
  return layer;
}

void SmallLinearCuda(const Tensor& x, const Tensor& weight, const Optional& bias, std::int64_t activation,
                     const Optional& before, const Tensor& result) {
  const cuda::SmallLinear layer = LayerOf(result, x, weight, activation, before);
  CheckFloats(bias, layer.out, "bias");
  CheckOptional(x.device(), bias);
  const c10::cuda::CUDAGuard guard(x.device());
  cuda::LaunchSmallLinear(layer, DataOf<float>(bias), DataOf<void>(before), result.mutable_data_ptr(),
                          c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void SmallLinearBackwardCuda(const Tensor& gradient, const Optional& saved, std::int64_t activation, const Tensor& x,
                             const Tensor& weight, const Optional& weight_gradient, const Optional& bias_gradient,
                             const Optional& input_gradient) {
  const cuda::SmallLinear layer = LayerOf(gradient, x, weight, activation, saved);
  TORCH_CHECK(activation == 0 || DataOf<void>(saved) != nullptr, "an activation's backward needs what was kept of it");
  CheckFloats(weight_gradient, static_cast<std::int64_t>(layer.out) * layer.in, "weight_gradient");
  CheckFloats(bias_gradient, layer.out, "bias_gradient");
  for (const Optional& tensor : {weight_gradient, bias_gradient, input_gradient}) CheckOptional(x.device(), tensor);
  cuda::SmallLinearGradients to;
  to.weight = DataOf<float>(weight_gradient);
  to.bias = DataOf<float>(bias_gradient);
  to.input = DataOf<void>(input_gradient);
  if (to.input != nullptr) {
    CheckMatrix(*input_gradient, layer.rows, layer.in, gradient.scalar_type(), "input_gradient");
    to.input_is_float = input_gradient->scalar_type() == at::kFloat;
  }
  const c10::cuda::CUDAGuard guard(x.device());
  cuda::LaunchSmallLinearBackward(layer, gradient.const_data_ptr(), DataOf<void>(saved), to,
                                  c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

TORCH_LIBRARY_IMPL(mantissa, CUDA, library) {
  library.impl("small_linear", SmallLinearCuda);
  library.impl("small_linear_backward", SmallLinearBackwardCuda);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
