#include "worker/amp/residual_norm.h"

#include <tuple>

#include "worker/amp/op.h"

namespace mantissa::trainer {

ResidualNormed AddAndNorm(const at::Tensor& x, const ResidualBranch& branch, const NormParameters& parameters,
                          bool wants_norm, std::optional<at::ScalarType> low) {
  using Optional = std::optional<at::Tensor>;
  static const auto op = FindOp<std::tuple<at::Tensor, at::Tensor, at::Tensor>(
      const at::Tensor&, const Optional&, double, std::int64_t, std::int64_t, const Optional&, std::int64_t,
      std::int64_t, const at::Tensor&, const at::Tensor&, double, bool, std::optional<at::ScalarType>)>(
      "mantissa::residual_norm");
  const auto optional = [](const at::Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; };
  ResidualNormed result;
  std::tie(result.sum, result.norm, result.low) =
      op.call(x, optional(branch.value), branch.probability, static_cast<std::int64_t>(branch.key.seed),
              branch.key.iteration, optional(branch.key.window), branch.key.micro_batch, branch.site, parameters.weight,
              parameters.bias, parameters.epsilon, wants_norm, low);
  if (!branch.value.defined()) result.sum = x;
  return result;
}

}  // namespace mantissa::trainer
