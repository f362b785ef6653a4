// Between LibTorch's dispatcher and the kernels of fused layers. Nothing here waits for the device.
#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "worker/kernels/attention/side_by_side_cuda.h"
#include "worker/kernels/dropout/dropout_check.h"
#include "worker/kernels/linear/activation_backward_cuda.h"
#include "worker/kernels/linear/add_gradient_cuda.h"
#include "worker/kernels/linear/column_sums_cuda.h"
#include "worker/kernels/linear/gelu_cuda.h"
#include "worker/kernels/plugin/device_check.h"
#include "worker/kernels/plugin/number_type_of.h"
#include "worker/kernels/residual_norm/residual_norm_check.h"
#include "worker/kernels/residual_norm/residual_norm_cuda.h"

namespace mantissa::trainer::kernels {
namespace {

using Optional = std::optional<at::Tensor>;

bool Has(const Optional& tensor) { return tensor.has_value() && tensor->defined(); }

// FP32 values that an op adds to or reads as they lie; null where there are none.
float* Floats(const Optional& tensor, std::int64_t count, const at::Device& device, const char* name) {
  if (!Has(tensor)) return nullptr;
  CheckOnDevice(device, {*tensor});
  TORCH_CHECK(tensor->scalar_type() == at::kFloat && tensor->is_contiguous() && tensor->numel() == count, name,
              " must be ", count, " FP32 numbers without a gap");
  return static_cast<float*>(tensor->data_ptr());
}

// The same of a given type, whatever their layout.
at::Tensor Contiguous(const Optional& tensor, const at::Tensor& like, at::ScalarType type) {
  if (!Has(tensor)) return {};
  CheckOnDevice(like.device(), {*tensor});
  TORCH_CHECK(tensor->numel() == like.numel() && tensor->scalar_type() == type, "a gradient must be ", like.numel(),
              " numbers of ", type);
  return tensor->contiguous();
}

// How many rows that follow each other are one row in memory, as a sum over them sends its gradient back.
std::int64_t Repeats(const Optional& gradient) {
  if (!Has(gradient) || gradient->dim() < 2 || gradient->numel() == 0) return 1;
  return gradient->stride(-2) == 0 ? gradient->size(-2) : 1;
}

template <class T>
const T* Data(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}

template <class T>
T* MutableData(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

cuda::NormRows RowsOf(const at::Tensor& x, const at::Tensor& weight, const DropoutDraw& draw, const Optional& window,
                      std::optional<at::ScalarType> type) {
  cuda::NormRows rows;
  rows.width = x.size(-1);
  TORCH_CHECK(rows.width <= kMostNormWidth, "a row of ", rows.width, " numbers is too wide");
  rows.rows = rows.width > 0 ? x.numel() / rows.width : 0;
  rows.type = TypeOf(type.value_or(at::kFloat), "residual_norm");
  rows.weight = Floats(weight, rows.width, x.device(), "weight");
  rows.draw = draw;
  if (Has(window)) {
    CheckOnDevice(x.device(), {*window});
    rows.window = DropoutWindow(*window);
  }
  return rows;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> ResidualNormForwardCuda(
    const at::Tensor& x, const Optional& branch, double probability, std::int64_t seed, std::int64_t iteration,
    const Optional& window, std::int64_t micro_batch, std::int64_t site, const at::Tensor& weight,
    const at::Tensor& bias, double epsilon, bool wants_norm, std::optional<at::ScalarType> low) {
  const c10::cuda::CUDAGuard guard(x.device());
  const std::optional<at::ScalarType> type = Has(branch) ? std::optional(branch->scalar_type()) : low;
  TORCH_CHECK(!low || *low == *type, "branch and low must have one type");
  cuda::ResidualNormForward work;
  work.of = RowsOf(x, weight, MakeDropoutDraw(probability, seed, iteration, micro_batch, site), window, type);
  work.x = Floats(x, x.numel(), x.device(), "x");
  work.bias = Floats(bias, work.of.width, x.device(), "bias");
  work.epsilon = static_cast<float>(epsilon);
  const at::Tensor part = Has(branch) ? Contiguous(branch, x, *type) : at::Tensor();
  work.branch = Data<void>(part);
  at::Tensor sum, norm, rounded;
  if (part.defined()) sum = at::empty_like(x);
  if (wants_norm) norm = at::empty_like(x);
  if (low) rounded = at::empty_like(x, x.options().dtype(*low));
  const at::Tensor means = at::empty({work.of.rows}, x.options());
  const at::Tensor inverse_deviations = at::empty({work.of.rows}, x.options());
  work.sum = MutableData<float>(sum);
  work.norm = MutableData<float>(norm);
  work.low = MutableData<void>(rounded);
  work.means = MutableData<float>(means);
  work.inverse_deviations = MutableData<float>(inverse_deviations);
  cuda::LaunchResidualNormForward(work, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {sum, norm, rounded, means, inverse_deviations};
}

std::tuple<at::Tensor, at::Tensor> ResidualNormBackwardCuda(
    const Optional& sum_gradient, const Optional& norm_gradient, const Optional& low_gradient, const at::Tensor& sum,
    const at::Tensor& means, const at::Tensor& inverse_deviations, const at::Tensor& weight, double probability,
    std::int64_t seed, std::int64_t iteration, const Optional& window, std::int64_t micro_batch, std::int64_t site,
    const Optional& weight_gradient, const Optional& bias_gradient, bool wants_x,
    std::optional<at::ScalarType> branch) {
  const c10::cuda::CUDAGuard guard(sum.device());
  std::optional<at::ScalarType> type = branch;
  if (Has(low_gradient)) {
    TORCH_CHECK(!branch || *branch == low_gradient->scalar_type(), "branch and low must have one type");
    type = low_gradient->scalar_type();
  }
  const at::Device device = sum.device();
  cuda::ResidualNormBackward work;
  work.of = RowsOf(sum, weight, MakeDropoutDraw(probability, seed, iteration, micro_batch, site), window, type);
  const at::Tensor of_sum = Contiguous(sum_gradient, sum, at::kFloat);
  work.norm_gradient_repeats = Repeats(norm_gradient);
  const at::Tensor of_norm = work.norm_gradient_repeats > 1
                                 ? Contiguous(norm_gradient->narrow(-2, 0, 1), sum.narrow(-2, 0, 1), at::kFloat)
                                 : Contiguous(norm_gradient, sum, at::kFloat);
  const at::Tensor of_low = Contiguous(low_gradient, sum, type.value_or(at::kFloat));
  work.sum_gradient = Data<float>(of_sum);
  work.norm_gradient = Data<float>(of_norm);
  work.low_gradient = Data<void>(of_low);
  work.sum = Floats(sum, sum.numel(), device, "sum");
  work.means = Floats(means, work.of.rows, device, "means");
  work.inverse_deviations = Floats(inverse_deviations, work.of.rows, device, "inverse_deviations");
  work.weight_gradient = Floats(weight_gradient, work.of.width, device, "weight_gradient");
  work.bias_gradient = Floats(bias_gradient, work.of.width, device, "bias_gradient");
  at::Tensor of_x, of_branch;
  if (wants_x) of_x = at::empty_like(sum);
  if (branch) of_branch = at::empty_like(sum, sum.options().dtype(*branch));
  work.x_gradient = MutableData<float>(of_x);
  work.branch_gradient = MutableData<void>(of_branch);
  const at::Tensor partials =
      at::empty({cuda::ResidualNormParts(work.of.rows, work.of.width), 2, work.of.width}, sum.options());
  work.partials = MutableData<float>(partials);
  cuda::LaunchResidualNormBackward(work, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {of_x, of_branch};
}

void AddGradientCuda(const at::Tensor& gradient, const at::Tensor& part_any) {
  const c10::cuda::CUDAGuard guard(gradient.device());
  CheckOnDevice(gradient.device(), {part_any});
  TORCH_CHECK(part_any.sizes() == gradient.sizes(), "a part of a gradient must have its shape");
  const at::Tensor part = part_any.contiguous();
  cuda::LaunchAddGradient(Floats(gradient, gradient.numel(), gradient.device(), "gradient"), Data<void>(part),
                          TypeOf(part.scalar_type(), "add_gradient"), gradient.numel(),
                          c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor GeluCuda(const at::Tensor& z_any) {
  const c10::cuda::CUDAGuard guard(z_any.device());
  const at::Tensor z = z_any.contiguous();
  const cuda::NumberType type = TypeOf(z.scalar_type(), "gelu");
  TORCH_CHECK(type != cuda::NumberType::kFloat, "gelu is of low types");
  const at::Tensor result = at::empty_like(z);
  cuda::LaunchGelu(Data<void>(z), type, z.numel(), MutableData<void>(result), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

void AddColumnSumsCuda(const at::Tensor& partials, at::ScalarType type, const at::Tensor& bias_gradient) {
  const c10::cuda::CUDAGuard guard(partials.device());
  TORCH_CHECK(partials.dim() == 2, "partials must be (parts, columns)");
  cuda::LaunchColumnSums(Floats(partials, partials.numel(), partials.device(), "partials"), partials.size(0),
                         partials.size(1), TypeOf(type, "add_column_sums"),
                         Floats(bias_gradient, partials.size(1), partials.device(), "bias_gradient"),
                         c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// (rows, width) three times.
std::tuple<at::Tensor, at::Tensor> SideBySideCuda(const at::Tensor& first, const at::Tensor& second,
                                                  const at::Tensor& third) {
  const c10::cuda::CUDAGuard guard(first.device());
  TORCH_CHECK(first.dim() == 2 && first.size(1) % 8 == 0, "side_by_side is of matrices whose width is a multiple of 8");
  cuda::SideBySide work;
  work.type = TypeOf(first.scalar_type(), "side_by_side");
  TORCH_CHECK(work.type != cuda::NumberType::kFloat, "side_by_side is of low types");
  work.rows = first.size(0);
  work.width = first.size(1);
  at::Tensor parts[3];
  for (int i = 0; i < 3; ++i) {
    const at::Tensor& part = i == 0 ? first : i == 1 ? second : third;
    TORCH_CHECK(part.sizes() == first.sizes(), "matrices of one shape are put side by side");
    parts[i] = Contiguous(part, first, first.scalar_type());
    TORCH_CHECK(reinterpret_cast<std::uintptr_t>(parts[i].const_data_ptr()) % 16 == 0, "a part begins unaligned");
    work.parts[i] = Data<void>(parts[i]);
  }
  const at::Tensor result = at::empty({work.rows, 3 * work.width}, first.options());
  const at::Tensor partials =
      at::empty({cuda::SideBySideParts(work.rows, work.width), 3 * work.width}, first.options().dtype(at::kFloat));
  work.result = MutableData<void>(result);
  work.partials = MutableData<float>(partials);
  cuda::LaunchSideBySide(work, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {result, partials};
}

at::Tensor ActivationBackwardCuda(const at::Tensor& gradient_any, const Optional& saved_any, std::int64_t activation,
                                  const Optional& bias_gradient) {
  const c10::cuda::CUDAGuard guard(gradient_any.device());
  TORCH_CHECK(gradient_any.dim() == 2, "gradient must be (rows, out)");
  TORCH_CHECK(activation >= 0 && activation <= 3, "unknown activation ", activation);
  const at::Tensor gradient = gradient_any.contiguous();
  cuda::ActivationBackward work;
  work.type = TypeOf(gradient.scalar_type(), "activation_backward");
  work.activation = static_cast<cpu::ActivationKind>(activation);
  work.rows = gradient.size(0);
  work.columns = gradient.size(1);
  work.gradient = Data<void>(gradient);
  const bool has_activation = work.activation != cpu::ActivationKind::kNone;
  TORCH_CHECK(Has(saved_any) == has_activation, "an activation's derivative wants what it has saved");
  const at::Tensor saved = Contiguous(saved_any, gradient, gradient.scalar_type());
  const at::Tensor result = has_activation ? at::empty_like(gradient) : gradient;
  work.saved = Data<void>(saved);
  if (has_activation) work.result = MutableData<void>(result);
  work.bias_gradient = Floats(bias_gradient, work.columns, gradient.device(), "bias_gradient");
  at::Tensor partials;
  if (work.bias_gradient != nullptr && work.columns > 0) {
    partials = at::empty({cuda::ActivationBackwardParts(work.type, work.rows, work.columns), work.columns},
                         gradient.options().dtype(at::kFloat));
    work.partials = MutableData<float>(partials);
  }
  cuda::LaunchActivationBackward(work, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

TORCH_LIBRARY_IMPL(mantissa, CUDA, library) {
  library.impl("residual_norm_forward", ResidualNormForwardCuda);
  library.impl("residual_norm_backward", ResidualNormBackwardCuda);
  library.impl("activation_backward", ActivationBackwardCuda);
  library.impl("add_gradient", AddGradientCuda);
  library.impl("gelu", GeluCuda);
  library.impl("add_column_sums", AddColumnSumsCuda);
  library.impl("side_by_side", SideBySideCuda);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
