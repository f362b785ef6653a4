#include "worker/models/gpt.h"

#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include <c10/util/Exception.h>

#include "worker/models/initialise.h"
#include "worker/models/residual_stream.h"

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
  const std::optional<HeadInput> end = ForwardToHead(input, context);
  return context.Linear(end->head, end->features);
}

std::optional<HeadInput> Gpt::ForwardToHead(const at::Tensor& input, const ForwardContext& context) {
  const PrecisionPolicy& policy = context.policy;
  const std::int64_t time = input.size(1);
  TORCH_CHECK(time <= position_embedding_.size(0), "a sequence of ", time, " tokens, and a context of ",
              position_embedding_.size(0));
  const at::Tensor positions = position_embedding_.narrow(0, 0, time);
  const at::Tensor tokens = context.Pass("token_embedding", policy.Embedding(token_embedding_, input));
  at::Tensor embedded = policy.Add(tokens, positions);
  if (context.training) embedded = policy.Dropout(embedded, dropout_, context.key, /*site=*/0);
  ResidualStream stream(context, embedded, dropout_, /*first_site=*/1);
  for (const TransformerBlock& block : blocks_) {
    stream.Add(block.Attend(stream.Norm(block.norm1, block.qkv), context, heads_, /*causal=*/true));
    stream.Add(block.FeedForward(stream.Norm(block.norm2, block.up), context, Activation::kGelu));
  }
  return HeadInput{stream.Norm(norm_, head_).flatten(0, 1), head_};
}

}  // namespace mantissa::trainer
