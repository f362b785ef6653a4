// y = activation(x w^T + b) in a compute type, with FP32 parameters. `stored` is the weight in the compute type where
// that is kept: forward and backward read it, the gradient is the FP32 weight's all the same. So is `stored_bias`, read
// where a library computes.
//
// One autograd node instead of ATen's cast, transpose, product and accumulation nodes: the gradients of weight and
// bias are added straight into their .grad, and an input that needs no gradient (the first layer's) gets none.
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tanh_backward.h>
#include <ATen/ops/threshold_backward.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "worker/amp/op.h"
#include "worker/kernels/column_sums.h"
#include "worker/kernels/linear/linear_cpu.h"
#include "worker/kernels/linear/small_linear.h"
#include "worker/kernels/parameter_gradient.h"

namespace mantissa::trainer::kernels {
namespace {

using cpu::ActivationKind;
using torch::autograd::variable_list;

at::Tensor Gelu(const at::Tensor& z) {
  if (!z.is_cuda() || z.scalar_type() == at::kFloat) return at::gelu(z, "tanh");
  static const auto op = FindOp<at::Tensor(const at::Tensor&)>("mantissa::gelu");
  return op.call(z);
}

at::Tensor ApplyActivation(ActivationKind kind, const at::Tensor& z) {
  switch (kind) {
    case ActivationKind::kNone:
      return z;
    case ActivationKind::kRelu:
      return at::relu(z);
    case ActivationKind::kGelu:
      return Gelu(z);
    case ActivationKind::kTanh:
      return at::tanh(z);
  }
  TORCH_CHECK(false, "unknown activation");
}

at::Tensor ActivationGradient(ActivationKind kind, const at::Tensor& gradient, const at::Tensor& saved) {
  switch (kind) {
    case ActivationKind::kNone:
      return gradient;
    case ActivationKind::kRelu:
      return at::threshold_backward(gradient, saved, 0);
    case ActivationKind::kGelu:
      return at::gelu_backward(gradient, saved, "tanh");
    case ActivationKind::kTanh:
      return at::tanh_backward(gradient, saved);
  }
  TORCH_CHECK(false, "unknown activation");
}

// The gradient of what went into the activation; adds its sums over rows to the bias's gradient, where that is defined.
at::Tensor ProductGradient(ActivationKind kind, const at::Tensor& gradient, const at::Tensor& saved,
                           const at::Tensor& bias_gradient) {
  if (gradient.is_cuda()) {
    static const auto op = FindOp<at::Tensor(const at::Tensor&, const std::optional<at::Tensor>&, std::int64_t,
                                             const std::optional<at::Tensor>&)>("mantissa::activation_backward");
    return op.call(gradient, kind == ActivationKind::kNone ? std::nullopt : std::optional(saved),
                   static_cast<std::int64_t>(kind),
                   bias_gradient.defined() ? std::optional(bias_gradient) : std::nullopt);
  }
  const at::Tensor result = ActivationGradient(kind, gradient, saved);
  if (bias_gradient.defined()) bias_gradient.add_(result.sum(0));
  return result;
}

// The gradient of a bias from the sums that came with the gradient.
void AddColumnSums(const at::Tensor& sums, at::ScalarType type, const at::Tensor& bias_gradient) {
  static const auto op =
      FindOp<void(const at::Tensor&, at::ScalarType, const at::Tensor&)>("mantissa::add_column_sums");
  op.call(sums, type, bias_gradient);
}

// Adds what a product in the compute type left to the FP32 gradient.
void AddGradient(const at::Tensor& gradient, const at::Tensor& part) {
  if (!gradient.is_cuda()) {
    gradient.add_(part);
    return;
  }
  static const auto op = FindOp<void(const at::Tensor&, const at::Tensor&)>("mantissa::add_gradient");
  op.call(gradient, part);
}

// Adds dz^T x to the FP32 gradient or, where that is its first part, writes it. FP16's product is rounded to FP16
// before, as on the CPU: its range is what loss scaling is about. BF16's, which overflows where FP32 does, is added on
// a GPU by the product itself, in FP32 and without a pass of its own.
void AddWeightGradient(at::Tensor gradient, const at::Tensor& dz, const at::Tensor& x) {
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16) {
    const double beta = TakeFirstPart(gradient) ? 0 : 1;  // at 0 what lies there is not read
    at::addmm_out(gradient, gradient, dz.t(), x, at::kFloat, beta);
    return;
  }
  if (TakeFirstPart(gradient)) gradient.zero_();
  if (x.scalar_type() == at::kFloat) {
    gradient.addmm_(dz.t(), x);
  } else {
    AddGradient(gradient, at::mm(dz.t(), x));
  }
}

// activation(x w^T + b) of matrices in one type; `before` is what the activation was applied to, where that is saved.
at::Tensor Product(ActivationKind kind, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                   at::Tensor* before) {
  if (kind == ActivationKind::kRelu && x.is_cuda() && bias.defined()) {
    // The product applies it as it writes its result: to the same bits, in one pass over it instead of three.
    return at::_addmm_activation(bias, x, weight.t(), 1, 1, /*use_gelu=*/false);
  }
  const at::Tensor z = at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  if (!cpu::DerivativeFromResult(kind)) *before = z;
  return ApplyActivation(kind, z);
}

// What forward leaves for backward. Tensors are without history, so that a node never keeps itself alive.
struct Saved {
  at::ScalarType compute = at::kFloat;
  ActivationKind activation = ActivationKind::kNone;
  bool by_floats = false;  // the way of linear_cpu.h
  bool small = false;      // the way of small_linear.h
  cpu::LinearShape shape;
  // What was read: in the compute type or, where these ways round as they read, FP32; else always in the compute type.
  at::Tensor x;  // (rows, in)
  at::Tensor weight;
  at::Tensor activation_saved;
};

struct LinearNode : public torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override;
  void release_variables() override {
    saved.x.reset();
    saved.weight.reset();
    saved.activation_saved.reset();
  }
  std::string name() const override { return "MantissaLinear"; }

  Saved saved;
  at::Tensor weight;  // the parameters, for their .grad
  at::Tensor bias;
  std::vector<std::int64_t> input_sizes;
  at::ScalarType input_type = at::kFloat;
};

variable_list LinearNode::apply(variable_list&& gradients) {
  at::AutoDispatchBelowADInplaceOrView below;
  variable_list result(1);
  if (!gradients[0].defined()) return result;
  TORCH_CHECK(saved.x.defined(), "backward through a linear layer a second time: its saved tensors are gone");
  const cpu::LinearShape& shape = saved.shape;
  at::Tensor gradient = gradients[0].reshape({shape.rows, shape.out}).to(saved.compute).contiguous();
  const bool by_library = !saved.by_floats && !saved.small;
  const at::Tensor weight_gradient = by_library ? UnbegunGradientOf(weight) : GradientOf(weight);
  const at::Tensor bias_gradient = GradientOf(bias);
  const bool wants_input = should_compute_output(0);

  if (!by_library) {
    at::Tensor input_gradient;
    if (wants_input) input_gradient = at::empty({shape.rows, shape.in}, gradient.options().dtype(input_type));
    if (saved.small) {
      SmallLinearBackward(gradient, saved.activation_saved, saved.activation, saved.x, saved.weight, weight_gradient,
                          bias_gradient, input_gradient);
    } else {
      cpu::LinearBackward(saved.compute, shape, gradient, saved.activation_saved, saved.activation, saved.x,
                          saved.weight, weight_gradient, bias_gradient, input_gradient);
    }
    if (wants_input) result[0] = input_gradient.view(input_sizes);
    return result;
  }

  // Whoever wrote the gradient of the product itself may have summed it up as well.
  const at::Tensor sums = saved.activation == ActivationKind::kNone && bias_gradient.defined() &&
                                  gradients[0].scalar_type() == saved.compute
                              ? ColumnSumsOf(gradients[0])
                              : at::Tensor();
  if (sums.defined()) AddColumnSums(sums, saved.compute, bias_gradient);
  const at::Tensor dz = ProductGradient(saved.activation, gradient, saved.activation_saved,
                                        sums.defined() ? at::Tensor() : bias_gradient);
  // What came in is not read again: nothing but dz need live beside the result.
  gradient.reset();
  gradients[0].reset();
  if (weight_gradient.defined()) AddWeightGradient(weight_gradient, dz, saved.x);
  if (wants_input) result[0] = at::mm(dz, saved.weight).to(input_type).view(input_sizes);
  return result;
}

// `weight` in FP32 or the compute type.
at::Tensor Forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& stored_bias,
                   bool for_backward, Saved* saved) {
  const cpu::LinearShape& shape = saved->shape;
  at::Tensor result;
  if (saved->by_floats || saved->small) {
    const at::Tensor input = saved->small || x.scalar_type() == saved->compute ? x : x.to(saved->compute);
    result = at::empty({shape.rows, shape.out}, x.options().dtype(saved->compute));
    const bool keeps_before = for_backward && !cpu::DerivativeFromResult(saved->activation);
    if (keeps_before) saved->activation_saved = at::empty_like(result);
    if (saved->small) {
      SmallLinearForward(saved->compute, input, weight, bias, saved->activation, saved->activation_saved, result);
    } else {
      cpu::LinearForward(saved->compute, shape, input, weight, bias, saved->activation, saved->activation_saved,
                         result);
    }
    saved->x = input;
    saved->weight = weight;
  } else {
    saved->x = x.to(saved->compute);
    saved->weight = weight.to(saved->compute);
    const at::Tensor low_bias = stored_bias.defined() || !bias.defined() ? stored_bias : bias.to(saved->compute);
    result = Product(saved->activation, saved->x, saved->weight, low_bias, &saved->activation_saved);
  }
  if (for_backward && saved->activation != ActivationKind::kNone && cpu::DerivativeFromResult(saved->activation)) {
    saved->activation_saved = result.variable_data();
  }
  return result;
}

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& stored_or_none,
                  const std::optional<at::Tensor>& bias_or_none, const std::optional<at::Tensor>& stored_bias_or_none,
                  at::ScalarType compute, std::int64_t activation) {
  const at::Tensor bias = bias_or_none.value_or(at::Tensor());
  const at::Tensor stored = stored_or_none.value_or(at::Tensor());
  const at::Tensor stored_bias = stored_bias_or_none.value_or(at::Tensor());
  TORCH_CHECK(compute == at::kFloat || compute == at::kHalf || compute == at::kBFloat16,
              "linear computes in float32, float16 or bfloat16, not ", compute);
  TORCH_CHECK(activation >= 0 && activation <= 3, "unknown activation ", activation);
  TORCH_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat, "weight must be FP32 (out, in)");
  TORCH_CHECK(!stored.defined() || (stored.scalar_type() == compute && stored.sizes() == weight.sizes()),
              "stored must be the weight in the compute type");
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) == weight.size(1), "x has ", x.dim() > 0 ? x.size(-1) : 0,
              " features, weight takes ", weight.size(1));
  TORCH_CHECK(
      !bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0) && bias.scalar_type() == at::kFloat),
      "bias must be FP32 (out)");
  TORCH_CHECK(!stored_bias.defined() || (bias.defined() && stored_bias.scalar_type() == compute &&
                                         stored_bias.sizes() == bias.sizes() && stored_bias.is_contiguous()),
              "stored_bias must be the bias in the compute type");

  const bool for_backward = at::GradMode::is_enabled() &&
                            (x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad()));
  Saved saved;
  saved.compute = compute;
  saved.activation = static_cast<ActivationKind>(activation);
  saved.shape = {weight.size(1) > 0 ? x.numel() / weight.size(1) : 0, weight.size(1), weight.size(0)};
  saved.by_floats = x.is_cpu() && cpu::LinearPays(compute, saved.shape);
  saved.small = x.is_cuda() && SmallLinearPays(x, compute, saved.shape);
  at::Tensor result;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor input = x.dim() == 2 && x.is_contiguous() ? x : x.reshape({saved.shape.rows, saved.shape.in});
    const at::Tensor& read = stored.defined() ? stored : weight;
    result = Forward(input.contiguous(), read.contiguous(), bias.defined() ? bias.contiguous() : bias, stored_bias,
                     for_backward, &saved);
    if (x.dim() != 2) {
      std::vector<std::int64_t> sizes = x.sizes().vec();
      sizes.back() = saved.shape.out;
      result = result.view(sizes);
    }
  }
  if (!for_backward) return result;

  const std::shared_ptr<LinearNode> node(new LinearNode(), torch::autograd::deleteNode);
  // The parameters' gradients do not travel along edges, so theirs are not in the graph.
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  node->saved = std::move(saved);
  node->weight = weight;
  node->bias = bias;
  node->input_sizes = x.sizes().vec();
  node->input_type = x.scalar_type();
  torch::autograd::set_history(result, node);
  return result;
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def(
      "linear(Tensor x, Tensor weight, Tensor? stored, Tensor? bias, Tensor? stored_bias, ScalarType compute, "
      "int activation) -> Tensor");
  // ProductGradient in one pass; of CUDA's only. `gradient` (rows, out), the same without an activation.
  library.def(
      "activation_backward(Tensor gradient, Tensor? saved, int activation, Tensor(a!)? bias_gradient) -> Tensor");
  // By tanh; of CUDA's only, and of low types.
  library.def("gelu(Tensor z) -> Tensor");
  // AddGradient; of CUDA's only. The part in FP32, FP16 or BF16.
  library.def("add_gradient(Tensor(a!) gradient, Tensor part) -> ()");
  // AddColumnSums; of CUDA's only. Sums (parts, columns) of column_sums.h, rounded through the type.
  library.def("add_column_sums(Tensor sums, ScalarType type, Tensor(a!) bias_gradient) -> ()");
}
// One function for every device, which is its own autograd formula.
TORCH_LIBRARY_IMPL(mantissa, CompositeImplicitAutograd, library) { library.impl("linear", Linear); }

}  // namespace
}  // namespace mantissa::trainer::kernels
