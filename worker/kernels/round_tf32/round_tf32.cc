// TF32 where no hardware has it: FP32 with its fraction rounded to 10 bits, to nearest even, as a tensor core reads its
// operands. Overflow becomes Inf, subnormals are rounded like the rest, Inf and NaN stay.
//
// Of a product, forward rounds both operands and backward the gradient as well, which meets both of them:
// round_tf32 is for the operands (a gradient passes as it is), round_gradient_tf32 for the result (a value passes as it
// is). Made of ATen's operations on bits, so that it runs on every device; nobody asks it to be fast.
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

namespace mantissa::trainer::kernels {
namespace {

using torch::autograd::variable_list;

constexpr std::int64_t kDropped = 13;                      // of 23 bits of fraction
constexpr std::int64_t kHalf = (1 << (kDropped - 1)) - 1;  // below half of the last bit kept
constexpr std::int64_t kExponent = 0x7f800000;

at::Tensor Rounded(const at::Tensor& x_any) {
  TORCH_CHECK(x_any.scalar_type() == at::kFloat, "TF32 is a rounding of FP32, not of ", x_any.scalar_type());
  const at::Tensor x = x_any.contiguous();
  const at::Tensor bits = x.view(at::kInt);
  const at::Tensor odd = bits.bitwise_right_shift(kDropped).bitwise_and(1);
  const at::Tensor rounded = bits.add(odd).add(kHalf).bitwise_right_shift(kDropped).bitwise_left_shift(kDropped);
  // A carry out of the fraction moves the exponent on, which is what rounding up to the next power, or to Inf, is.
  const at::Tensor finite = bits.bitwise_and(kExponent).ne(kExponent);
  return at::where(finite, rounded, bits).view(at::kFloat);
}

struct PassNode : public torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override {
    at::AutoDispatchBelowADInplaceOrView below;
    if (rounds && gradients[0].defined()) gradients[0] = Rounded(gradients[0]);
    return std::move(gradients);
  }
  std::string name() const override { return "MantissaRoundTf32"; }

  bool rounds = false;
};

at::Tensor WithHistory(const at::Tensor& x, at::Tensor result, bool rounds_gradient) {
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return result;
  const std::shared_ptr<PassNode> node(new PassNode(), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  node->rounds = rounds_gradient;
  torch::autograd::set_history(result, node);
  return result;
}

at::Tensor RoundTf32(const at::Tensor& x) {
  at::Tensor result;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    result = Rounded(x);
  }
  return WithHistory(x, result, false);
}

at::Tensor RoundGradientTf32(const at::Tensor& x) {
  TORCH_CHECK(x.scalar_type() == at::kFloat, "TF32 is a rounding of FP32, not of ", x.scalar_type());
  // A tensor of its own over the same values, so that the history of x is not rewritten.
  return WithHistory(x, x.variable_data(), true);
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("round_tf32(Tensor x) -> Tensor");
  library.def("round_gradient_tf32(Tensor x) -> Tensor");
}
TORCH_LIBRARY_IMPL(mantissa, CompositeImplicitAutograd, library) {
  library.impl("round_tf32", RoundTf32);
  library.impl("round_gradient_tf32", RoundGradientTf32);
}

}  // namespace
}  // namespace mantissa::trainer::kernels
