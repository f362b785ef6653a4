// The residual stream's step from one part of a transformer to the next: sum = x + dropout(branch), and its layer norm,
// in FP32 and rounded once to the type in which the next product reads it.
//
//   norm = (sum - mean) / sqrt(variance + epsilon) x weight + bias, over the last dimension
//
// On CPU, and where the fused kernels do not fit, LibTorch's ops one after another. On CUDA one pass forward and one
// back, by an autograd node that adds the gradients of weight and bias straight into their .grad; the sums that meet in
// x's gradient are added in the same order.
#include <ATen/ops/add.h>
#include <ATen/ops/layer_norm.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/library.h>

#include "worker/amp/op.h"
#include "worker/kernels/dropout/dropout_key.h"
#include "worker/kernels/parameter_gradient.h"
#include "worker/kernels/residual_norm/residual_norm_check.h"

namespace mantissa::trainer::kernels {
namespace {

using torch::autograd::variable_list;
using Optional = std::optional<at::Tensor>;

Optional OptionalOf(const at::Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; }

at::Tensor Drop(const at::Tensor& x, const DropoutKey& key) {
  if (key.probability == 0) return x;
  if (key.window.defined()) {
    static const auto of_window =
        FindOp<at::Tensor(const at::Tensor&, double, std::int64_t, const at::Tensor&, std::int64_t, std::int64_t)>(
            "mantissa::dropout_of_window");
    return of_window.call(x, key.probability, key.seed, key.window, key.micro_batch, key.site);
  }
  static const auto op =
      FindOp<at::Tensor(const at::Tensor&, double, std::int64_t, std::int64_t, std::int64_t, std::int64_t)>(
          "mantissa::dropout");
  return op.call(x, key.probability, key.seed, key.iteration, key.micro_batch, key.site);
}

struct Result {
  at::Tensor sum;   // undefined without a branch: it is x
  at::Tensor norm;  // undefined where not wanted, as is low
  at::Tensor low;
};

struct Wanted {
  bool norm = true;
  std::optional<at::ScalarType> low;
};

Result ByOperations(const at::Tensor& x, const at::Tensor& branch, const DropoutKey& key, const at::Tensor& weight,
                    const at::Tensor& bias, double epsilon, const Wanted& wanted) {
  Result result;
  if (branch.defined()) result.sum = at::add(x, Drop(branch, key));
  const at::Tensor& sum = branch.defined() ? result.sum : x;
  const at::Tensor norm = at::layer_norm(sum.to(at::kFloat), {sum.size(-1)}, weight, bias, epsilon);
  if (wanted.norm) result.norm = norm;
  if (wanted.low) result.low = norm.to(*wanted.low);
  return result;
}

bool IsForKernels(const at::Tensor& x, const at::Tensor& branch, const at::Tensor& weight, const at::Tensor& bias,
                  const Wanted& wanted) {
  if (!x.is_cuda() || x.size(-1) > kMostNormWidth) return false;
  if (x.scalar_type() != at::kFloat || weight.scalar_type() != at::kFloat || bias.scalar_type() != at::kFloat) {
    return false;
  }
  if (!branch.defined()) return true;
  return branch.sizes() == x.sizes() && (!wanted.low || branch.scalar_type() == *wanted.low);
}

// (sum, norm, low, means, inverse deviations).
using Forwarded = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Forwarded CallForward(const at::Tensor& x, const at::Tensor& branch, const DropoutKey& key, const at::Tensor& weight,
                      const at::Tensor& bias, double epsilon, const Wanted& wanted) {
  static const auto op =
      FindOp<Forwarded(const at::Tensor&, const Optional&, double, std::int64_t, std::int64_t, const Optional&,
                       std::int64_t, std::int64_t, const at::Tensor&, const at::Tensor&, double, bool,
                       std::optional<at::ScalarType>)>("mantissa::residual_norm_forward");
  return op.call(x, OptionalOf(branch), key.probability, key.seed, key.iteration, OptionalOf(key.window),
                 key.micro_batch, key.site, weight, bias, epsilon, wanted.norm, wanted.low);
}

struct ResidualNormNode : public torch::autograd::Node {
  variable_list apply(variable_list&& gradients) override;
  void release_variables() override {
    sum.reset();
    means.reset();
    inverse_deviations.reset();
  }
  std::string name() const override { return "MantissaResidualNorm"; }

  at::Tensor sum;  // without history, so that a node never keeps itself alive
  at::Tensor means;
  at::Tensor inverse_deviations;
  at::Tensor weight;  // the parameters, for their .grad
  at::Tensor bias;
  DropoutKey key;
  at::ScalarType type = at::kFloat;  // of branch and low
};

variable_list ResidualNormNode::apply(variable_list&& gradients) {
  at::AutoDispatchBelowADInplaceOrView below;
  variable_list result(2);
  if (!gradients[0].defined() && !gradients[1].defined() && !gradients[2].defined()) return result;
  TORCH_CHECK(sum.defined(), "backward through a norm a second time: its saved tensors are gone");
  static const auto op = FindOp<std::tuple<at::Tensor, at::Tensor>(
      const Optional&, const Optional&, const Optional&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
      const at::Tensor&, double, std::int64_t, std::int64_t, const Optional&, std::int64_t, std::int64_t,
      const Optional&, const Optional&, bool, std::optional<at::ScalarType>)>("mantissa::residual_norm_backward");
  std::tie(result[0], result[1]) =
      op.call(OptionalOf(gradients[0]), OptionalOf(gradients[1]), OptionalOf(gradients[2]), sum, means,
              inverse_deviations, weight, key.probability, key.seed, key.iteration, OptionalOf(key.window),
              key.micro_batch, key.site, OptionalOf(GradientOf(weight)), OptionalOf(GradientOf(bias)),
              should_compute_output(0), should_compute_output(1) ? std::optional(type) : std::nullopt);
  return result;
}

Result ByKernels(const at::Tensor& x, const at::Tensor& branch, const DropoutKey& key, const at::Tensor& weight,
                 const at::Tensor& bias, double epsilon, const Wanted& wanted) {
  Result result;
  at::Tensor means, inverse_deviations;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    std::tie(result.sum, result.norm, result.low, means, inverse_deviations) =
        CallForward(x.contiguous(), branch.defined() ? branch.contiguous() : branch, key, weight.contiguous(),
                    bias.contiguous(), epsilon, wanted);
  }
  const bool for_backward =
      at::GradMode::is_enabled() && (x.requires_grad() || (branch.defined() && branch.requires_grad()) ||
                                     weight.requires_grad() || bias.requires_grad());
  if (!for_backward) return result;
  const std::shared_ptr<ResidualNormNode> node(new ResidualNormNode(), torch::autograd::deleteNode);
  // The parameters' gradients do not travel along edges, so theirs are not in the graph.
  node->set_next_edges(torch::autograd::collect_next_edges(x, branch));
  node->sum = branch.defined() ? result.sum.variable_data() : x.contiguous().variable_data();
  node->means = means;
  node->inverse_deviations = inverse_deviations;
  node->weight = weight;
  node->bias = bias;
  node->key = key;
  node->type = branch.defined() ? branch.scalar_type() : wanted.low.value_or(at::kFloat);
  torch::autograd::set_history(result.sum, node);
  torch::autograd::set_history(result.norm, node);
  torch::autograd::set_history(result.low, node);
  return result;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> ResidualNorm(
    const at::Tensor& x, const Optional& branch_or_none, double probability, std::int64_t seed, std::int64_t iteration,
    const Optional& window, std::int64_t micro_batch, std::int64_t site, const at::Tensor& weight,
    const at::Tensor& bias, double epsilon, bool wants_norm, std::optional<at::ScalarType> low) {
  const at::Tensor branch = branch_or_none.value_or(at::Tensor());
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 1 && bias.dim() == 1 && weight.size(0) == x.size(-1) &&
                  bias.size(0) == x.size(-1),
              "weight and bias must have one number for each of x's ", x.dim() > 0 ? x.size(-1) : 0);
  TORCH_CHECK(!low || *low == at::kFloat || *low == at::kHalf || *low == at::kBFloat16,
              "a norm is rounded to float32, float16 or bfloat16");
  const DropoutKey key = {probability, seed, iteration, window.value_or(at::Tensor()), micro_batch, site};
  const Wanted wanted = {wants_norm, low};
  const Result result = IsForKernels(x, branch, weight, bias, wanted)
                            ? ByKernels(x, branch, key, weight, bias, epsilon, wanted)
                            : ByOperations(x, branch, key, weight, bias, epsilon, wanted);
  return {result.sum, result.norm, result.low};
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  // -> (sum, or undefined without a branch; norm, FP32, where `norm`; the norm in the type `low`, where that is given).
  library.def(
      "residual_norm(Tensor x, Tensor? branch, float probability, int seed, int iteration, Tensor? window, "
      "int micro_batch, int site, Tensor weight, Tensor bias, float epsilon, bool norm, ScalarType? low) -> "
      "(Tensor, Tensor, Tensor)");
  // The kernels', of CUDA's only.
  library.def(
      "residual_norm_forward(Tensor x, Tensor? branch, float probability, int seed, int iteration, Tensor? window, "
      "int micro_batch, int site, Tensor weight, Tensor bias, float epsilon, bool norm, ScalarType? low) -> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "residual_norm_backward(Tensor? sum_gradient, Tensor? norm_gradient, Tensor? low_gradient, Tensor sum, "
      "Tensor means, Tensor inverse_deviations, Tensor weight, float probability, int seed, int iteration, "
      "Tensor? window, int micro_batch, int site, Tensor(a!)? weight_gradient, Tensor(b!)? bias_gradient, bool x, "
      "ScalarType? branch) -> (Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(mantissa, CompositeImplicitAutograd, library) { library.impl("residual_norm", ResidualNorm); }

}  // namespace
}  // namespace mantissa::trainer::kernels
