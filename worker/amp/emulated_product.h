// Products in a format that the device has no arithmetic for: FP32 products of operands that are rounded to it, forward
// and backward, summed in FP32 and, where the format is one that results are kept in, rounded once. The numbers of the
// format, at no gain in speed.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "worker/amp/precision_policy.h"

namespace mantissa::trainer {

// Operands and results as those of PrecisionPolicy. Immutable; thread-safe.
class EmulatedProduct {
 public:
  EmulatedProduct(v1::PrecisionSpec::Mode mode, at::ScalarType result_type) : mode_(mode), result_type_(result_type) {}

  at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Activation activation) const;
  at::Tensor Convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         const ConvolutionOptions& options) const;
  at::Tensor Attention(const at::Tensor& qkv, std::int64_t heads, bool causal) const;

 private:
  // What a product reads, in FP32.
  at::Tensor Operand(const at::Tensor& tensor) const;
  // A product's FP32 sums, whose gradient is an operand of the backward products.
  at::Tensor Result(const at::Tensor& sums) const;

  const v1::PrecisionSpec::Mode mode_;
  const at::ScalarType result_type_;
};

}  // namespace mantissa::trainer
