// Between LibTorch's dispatcher and the kernels of forward and backward passes. Nothing here waits for the device.
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "worker/kernels/check.h"
#include "worker/kernels/cross_entropy/cross_entropy_check.h"
#include "worker/kernels/cross_entropy/cross_entropy_cuda.h"
#include "worker/kernels/dropout/dropout_check.h"
#include "worker/kernels/dropout/dropout_cuda.h"
#include "worker/kernels/plugin/device_check.h"
#include "worker/kernels/plugin/number_type_of.h"

namespace mantissa::trainer::kernels {
namespace {

cuda::LogitsView ViewOf(const at::Tensor& logits) {
  return {logits.const_data_ptr(), TypeOf(logits.scalar_type(), "cross_entropy"), logits.size(0), logits.size(1)};
}

std::tuple<at::Tensor, at::Tensor> CrossEntropyForwardCuda(const at::Tensor& logits_any,
                                                           const at::Tensor& targets_any) {
  CheckLogits(logits_any, targets_any);
  CheckOnDevice(logits_any.device(), {targets_any});
  const c10::cuda::CUDAGuard guard(logits_any.device());
  const at::Tensor logits = logits_any.contiguous();
  const at::Tensor targets = targets_any.contiguous();
  const at::TensorOptions options = logits.options().dtype(at::kFloat);
  const at::Tensor sum = at::empty({}, options);
  const at::Tensor normalizers = at::empty({logits.size(0)}, options);
  const at::Tensor losses = at::empty({logits.size(0)}, options);
  cuda::LaunchCrossEntropyForward(ViewOf(logits), targets.const_data_ptr<std::int64_t>(),
                                  normalizers.mutable_data_ptr<float>(), losses.mutable_data_ptr<float>(),
                                  sum.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {sum, normalizers};
}

at::Tensor CrossEntropyBackwardCuda(const at::Tensor& gradient, const at::Tensor& logits_any,
                                    const at::Tensor& targets_any, const at::Tensor& normalizers) {
  CheckLogits(logits_any, targets_any);
  CheckOnDevice(logits_any.device(), {gradient, targets_any, normalizers});
  const c10::cuda::CUDAGuard guard(logits_any.device());
  const at::Tensor logits = logits_any.contiguous();
  const at::Tensor targets = targets_any.contiguous();
  const at::Tensor result = at::empty_like(logits);
  cuda::LaunchCrossEntropyBackward(gradient.const_data_ptr<float>(), ViewOf(logits),
                                   targets.const_data_ptr<std::int64_t>(), normalizers.const_data_ptr<float>(),
                                   result.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

std::tuple<at::Tensor, at::Tensor> CrossEntropyAndGradientCuda(const at::Tensor& logits_any,
                                                               const at::Tensor& targets_any,
                                                               const at::Tensor& incoming, bool overwrite) {
  CheckLogits(logits_any, targets_any);
  CheckIncoming(incoming);
  CheckOnDevice(logits_any.device(), {targets_any, incoming});
  const c10::cuda::CUDAGuard guard(logits_any.device());
  const at::Tensor logits = logits_any.contiguous();
  const at::Tensor targets = targets_any.contiguous();
  const at::TensorOptions options = logits.options().dtype(at::kFloat);
  const at::Tensor sum = at::empty({}, options);
  const at::Tensor losses = at::empty({logits.size(0)}, options);
  const at::Tensor gradient = overwrite ? logits : at::empty_like(logits);
  cuda::LaunchCrossEntropyAndGradient(incoming.const_data_ptr<float>(), ViewOf(logits),
                                      targets.const_data_ptr<std::int64_t>(), losses.mutable_data_ptr<float>(),
                                      sum.mutable_data_ptr<float>(), gradient.mutable_data_ptr(),
                                      c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {sum, gradient};
}

at::Tensor Drop(const at::Tensor& x_any, const DropoutDraw& draw, const std::int64_t* window) {
  const c10::cuda::CUDAGuard guard(x_any.device());
  const at::Tensor x = x_any.contiguous();
  const at::Tensor result = at::empty_like(x);
  cuda::LaunchDropout(draw, window, TypeOf(x.scalar_type(), "dropout"), x.const_data_ptr(), x.numel(),
                      result.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

at::Tensor DropoutMaskCuda(const at::Tensor& x, double probability, std::int64_t seed, std::int64_t iteration,
                           std::int64_t micro_batch, std::int64_t site) {
  return Drop(x, MakeDropoutDraw(probability, seed, iteration, micro_batch, site), nullptr);
}

at::Tensor DropoutMaskOfWindowCuda(const at::Tensor& x, double probability, std::int64_t seed, const at::Tensor& window,
                                   std::int64_t micro_batch, std::int64_t site) {
  CheckOnDevice(x.device(), {window});
  return Drop(x, MakeDropoutDraw(probability, seed, 0, micro_batch, site), DropoutWindow(window));
}

TORCH_LIBRARY_IMPL(mantissa, CUDA, library) {
  library.impl("cross_entropy_forward", CrossEntropyForwardCuda);
  library.impl("cross_entropy_backward", CrossEntropyBackwardCuda);
  library.impl("cross_entropy_and_gradient", CrossEntropyAndGradientCuda);
  library.impl("dropout_mask", DropoutMaskCuda);
  library.impl("dropout_mask_of_window", DropoutMaskOfWindowCuda);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
