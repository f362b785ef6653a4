#include "worker/amp/emulated_product.h"

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>

#include "worker/amp/op.h"

namespace mantissa::trainer {

at::Tensor EmulatedProduct::Operand(const at::Tensor& tensor) const {
  if (mode_ != v1::PrecisionSpec::TF32) return tensor.to(result_type_).to(at::kFloat);
  static const auto op = FindOp<at::Tensor(const at::Tensor&)>("mantissa::round_tf32");
  return op.call(tensor.to(at::kFloat));
}

at::Tensor EmulatedProduct::Result(const at::Tensor& sums) const {
  // The cast rounds the gradient that comes back through it, too.
  if (mode_ != v1::PrecisionSpec::TF32) return sums.to(result_type_);
  static const auto op = FindOp<at::Tensor(const at::Tensor&)>("mantissa::round_gradient_tf32");
  return op.call(sums);
}

at::Tensor EmulatedProduct::Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                   Activation activation) const {
  at::Tensor result = Result(at::linear(Operand(x), Operand(weight)));
  if (bias.defined()) result = (result + bias).to(result_type_);
  return PrecisionPolicy(v1::PrecisionSpec::FP32).Activate(result, activation);
}

at::Tensor EmulatedProduct::Convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                        const ConvolutionOptions& options) const {
  at::Tensor result = Result(Convolve(Operand(x), Operand(weight), {}, options));
  if (!bias.defined()) return result;
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(x.dim()), 1);
  sizes[1] = bias.size(0);
  return (result + bias.view(sizes)).to(result_type_);
}

at::Tensor EmulatedProduct::Attention(const at::Tensor& qkv, std::int64_t heads, bool causal) const {
  const std::int64_t batch = qkv.size(0);
  const std::int64_t time = qkv.size(1);
  const std::int64_t width = qkv.size(2) / 3;
  // (B, heads, T, d / heads) each
  const std::vector<at::Tensor> parts =
      Operand(qkv).view({batch, time, 3, heads, width / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
  const double scale = 1 / std::sqrt(static_cast<double>(width / heads));
  const at::Tensor products = at::matmul(parts[0], parts[1].transpose(-2, -1));
  // Inside, nothing is kept in the format.
  at::Tensor scores = (mode_ == v1::PrecisionSpec::TF32 ? Result(products) : products) * scale;
  if (causal) {
    const at::Tensor later = at::ones({time, time}, scores.options().dtype(at::kBool)).triu(1);
    scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  const at::Tensor mixed = Result(at::matmul(Operand(at::softmax(scores, -1)), parts[2]));
  return mixed.transpose(1, 2).reshape({batch, time, width});
}

}  // namespace mantissa::trainer
