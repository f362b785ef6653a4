#include "worker/models/gpt.h"

#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "worker/models/initialise.h"

namespace mantissa::trainer {

Gpt::Gpt(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed, at::Device device)
    : Model(spec::ModelParameters(model, sample), device),
      token_embedding_(parameters_.at("token_embedding.weight")),
      position_embedding_(parameters_.at("position_embedding.weight")),
      norm_(parameters_.LinearAt("norm")),
      head_(parameters_.TiedLinear("head", "token_embedding.weight")),
      heads_(model.gpt().heads()),
      dropout_(model.gpt().dropout()) {
  for (int i = 0; i < model.gpt().layers(); ++i) blocks_.emplace_back(parameters_, absl::StrCat("blocks.", i));
  Initialise(seed, model.gpt().layers());
}

// GPT-2's: normal with deviation 0.02, the two projections into the residual stream scaled down by its depth, biases
// zero.
void Gpt::Initialise(std::uint64_t seed, std::int64_t layers) {
  const double into_residual = 0.02 / std::sqrt(2.0 * static_cast<double>(layers));
  for (std::size_t i = 0; i < parameters_.parameters().size(); ++i) {
    const Parameter& parameter = parameters_.parameters()[i];
    const std::string_view path = parameter.shape.path;
    const InitialKey key{seed, static_cast<std::uint32_t>(i)};
    if (parameter.shape.kind == spec::ParameterKind::kNorm) {
      FillConstant(parameter.value, path.ends_with(".weight") ? 1 : 0);
    } else if (parameter.shape.kind == spec::ParameterKind::kBias) {
      FillConstant(parameter.value, 0);
    } else {
      const bool projects = path.ends_with(".proj.weight") || path.ends_with(".down.weight");
      FillNormal(parameter.value, key, projects ? into_residual : 0.02);
    }
  }
}

at::Tensor Gpt::Forward(const at::Tensor& input, const ForwardContext& context) {
  const PrecisionPolicy& policy = context.policy;
  std::int32_t site = 0;
  const auto drop = [&](const at::Tensor& part) {
    const std::int32_t here = site++;
    return context.training ? policy.Dropout(part, dropout_, context.key, here) : part;
  };
  const std::int64_t time = input.size(1);
  TORCH_CHECK(time <= position_embedding_.size(0), "a sequence of ", time, " tokens, and a context of ",
              position_embedding_.size(0));
  const at::Tensor positions = position_embedding_.narrow(0, 0, time);
  const at::Tensor tokens = context.Pass("token_embedding", policy.Embedding(token_embedding_, input));
  at::Tensor x = drop(policy.Add(tokens, positions));
  for (const TransformerBlock& block : blocks_) {
    const at::Tensor first = context.LayerNorm(block.norm1, x);
    x = policy.Add(x, drop(block.Attend(first, context, heads_, /*causal=*/true)));
    const at::Tensor second = context.LayerNorm(block.norm2, x);
    x = policy.Add(x, drop(block.FeedForward(second, context, Activation::kGelu)));
  }
  x = context.LayerNorm(norm_, x);
  return context.Linear(head_, x).flatten(0, 1);
}

}  // namespace mantissa::trainer
