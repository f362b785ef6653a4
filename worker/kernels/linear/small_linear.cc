#include "worker/kernels/linear/small_linear.h"

#include <optional>

#include <torch/library.h>

#include "worker/amp/op.h"
#include "worker/kernels/linear/small_linear_check.h"

namespace mantissa::trainer {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

// A side of up to so many is a few tiles of the kernel, and its blocks are one wave on a GPU.
constexpr std::int64_t kLongestSide = 256;

Optional IfDefined(const Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; }

void ForwardCpu(const Tensor& x, const Tensor& weight, const Optional& bias, std::int64_t activation,
                const Optional& before, const Tensor& result) {
  const cpu::LinearShape shape = kernels::CheckSmallLinear(result, x, weight, activation, before);
  kernels::CheckFloats(bias, shape.out, "bias");
  cpu::LinearForward(result.scalar_type(), shape, x, weight, bias.value_or(Tensor()),
                     static_cast<cpu::ActivationKind>(activation), before.value_or(Tensor()), result);
}

void BackwardCpu(const Tensor& gradient, const Optional& saved, std::int64_t activation, const Tensor& x,
                 const Tensor& weight, const Optional& weight_gradient, const Optional& bias_gradient,
                 const Optional& input_gradient) {
  const cpu::LinearShape shape = kernels::CheckSmallLinear(gradient, x, weight, activation, saved);
  kernels::CheckFloats(weight_gradient, shape.out * shape.in, "weight_gradient");
  kernels::CheckFloats(bias_gradient, shape.out, "bias_gradient");
  cpu::LinearBackward(gradient.scalar_type(), shape, gradient, saved.value_or(Tensor()),
                      static_cast<cpu::ActivationKind>(activation), x, weight, weight_gradient.value_or(Tensor()),
                      bias_gradient.value_or(Tensor()), input_gradient.value_or(Tensor()));
}

}  // namespace

bool SmallLinearPays(const at::Tensor& x, at::ScalarType compute, const cpu::LinearShape& shape) {
  const auto fits = [](std::int64_t side) { return side > 0 && side <= kLongestSide; };
  return compute != at::kFloat && (x.scalar_type() == at::kFloat || x.scalar_type() == compute) && fits(shape.rows) &&
         fits(shape.in) && fits(shape.out);
}

void SmallLinearForward(at::ScalarType compute, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                        cpu::ActivationKind activation, const at::Tensor& before, const at::Tensor& result) {
  TORCH_INTERNAL_ASSERT(result.scalar_type() == compute);
  static const auto op =
      FindOp<void(const Tensor&, const Tensor&, const Optional&, std::int64_t, const Optional&, const Tensor&)>(
          "mantissa::small_linear");
  op.call(x, weight, IfDefined(bias), static_cast<std::int64_t>(activation), IfDefined(before), result);
}

void SmallLinearBackward(const at::Tensor& gradient, const at::Tensor& saved, cpu::ActivationKind activation,
                         const at::Tensor& x, const at::Tensor& weight, const at::Tensor& weight_gradient,
                         const at::Tensor& bias_gradient, const at::Tensor& input_gradient) {
  static const auto op =
      FindOp<void(const Tensor&, const Optional&, std::int64_t, const Tensor&, const Tensor&, const Optional&,
                  const Optional&, const Optional&)>("mantissa::small_linear_backward");
  op.call(gradient, IfDefined(saved), static_cast<std::int64_t>(activation), x, weight, IfDefined(weight_gradient),
          IfDefined(bias_gradient), IfDefined(input_gradient));
}

namespace {

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def(
      "small_linear(Tensor x, Tensor weight, Tensor? bias, int activation, Tensor(a!)? before, Tensor(b!) result) -> "
      "()");
  // Adds to the gradients of weight and bias, and writes that of x.
  library.def(
      "small_linear_backward(Tensor gradient, Tensor? saved, int activation, Tensor x, Tensor weight, Tensor(a!)? "
      "weight_gradient, Tensor(b!)? bias_gradient, Tensor(c!)? input_gradient) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) {
  library.impl("small_linear", ForwardCpu);
  library.impl("small_linear_backward", BackwardCpu);
}
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) {
  library.impl("small_linear", torch::CppFunction::makeFallthrough());
  library.impl("small_linear_backward", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace mantissa::trainer
