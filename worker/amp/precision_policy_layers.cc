// The policy's operations for layers over channels and places: convolution, norms, pooling.
#include <vector>

#include <ATen/ops/avg_pool1d.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/max_pool1d.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/tanh.h>
#include <c10/util/Exception.h>

#include "worker/amp/emulated_product.h"
#include "worker/amp/precision_policy.h"

namespace mantissa::trainer {

at::Tensor Convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    const ConvolutionOptions& options) {
  const std::size_t sides = static_cast<std::size_t>(x.dim()) - 2;
  const std::vector<std::int64_t> stride(sides, options.stride), padding(sides, options.padding), ones(sides, 1);
  return at::convolution(x, weight, bias.defined() ? std::optional(bias) : std::nullopt, stride, padding,
                         /*dilation=*/ones, /*transposed=*/false,
                         /*output_padding=*/std::vector<std::int64_t>(sides, 0), options.groups);
}

at::Tensor PrecisionPolicy::Convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                        const ConvolutionOptions& options) const {
  TORCH_CHECK(x.dim() == weight.dim() && (x.dim() == 3 || x.dim() == 4),
              "a convolution takes (B, C, L) or (B, C, H, W) and a weight of as many dimensions");
  if (Emulates(x)) return EmulatedProduct(mode_, compute_type_).Convolution(x, weight, bias, options);
  const at::ScalarType inside = ByFloats(x) ? at::kFloat : compute_type_;
  // The casts are nodes of autograd, so that gradients are rounded where they cross them, once each way.
  const auto operand = [&](const at::Tensor& tensor) { return tensor.to(compute_type_).to(inside); };
  return Convolve(operand(x), operand(weight), bias.defined() ? operand(bias) : bias, options).to(compute_type_);
}

at::Tensor PrecisionPolicy::BatchNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                      const BatchStatistics& running, const BatchNormOptions& options) const {
  const bool by_batch = options.training && x.numel() > x.size(1);
  return at::batch_norm(x.to(at::kFloat), weight, bias, running.mean, running.variance, by_batch, options.momentum,
                        options.epsilon, /*cudnn_enabled=*/true);
}

at::Tensor PrecisionPolicy::RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) const {
  return at::rms_norm(x.to(at::kFloat), {x.size(-1)}, weight, epsilon);
}

at::Tensor PrecisionPolicy::LogSoftmax(const at::Tensor& x) const { return at::log_softmax(x.to(at::kFloat), -1); }

at::Tensor PrecisionPolicy::MaxPool(const at::Tensor& x, const PoolOptions& options) const {
  const std::int64_t kernel = options.kernel, stride = options.stride;
  return x.dim() == 3 ? at::max_pool1d(x, {kernel}, {stride}) : at::max_pool2d(x, {kernel, kernel}, {stride, stride});
}

at::Tensor PrecisionPolicy::AveragePool(const at::Tensor& x, const PoolOptions& options) const {
  const std::int64_t kernel = options.kernel, stride = options.stride;
  const at::Tensor floats = x.to(at::kFloat);
  return x.dim() == 3 ? at::avg_pool1d(floats, {kernel}, {stride})
                      : at::avg_pool2d(floats, {kernel, kernel}, {stride, stride});
}

at::Tensor PrecisionPolicy::Mean(const at::Tensor& x, at::IntArrayRef dimensions) const {
  return at::mean(x.to(at::kFloat), dimensions);
}

at::Tensor PrecisionPolicy::Activate(const at::Tensor& x, Activation activation) const {
  switch (activation) {
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kGelu:
      return at::gelu(x.to(at::kFloat), "tanh").to(x.scalar_type());
    case Activation::kTanh:
      return at::tanh(x.to(at::kFloat)).to(x.scalar_type());
    case Activation::kNone:
      break;
  }
  return x;
}

at::Tensor PrecisionPolicy::Scale(const at::Tensor& x, double factor) const {
  return (x.to(at::kFloat) * factor).to(x.scalar_type());
}

}  // namespace mantissa::trainer
