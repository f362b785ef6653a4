#include "worker/models/head_loss.h"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "worker/amp/loss_gradient.h"

namespace mantissa::trainer {

HeadLoss RunHead(const HeadInput& input, const at::Tensor& targets, const at::Tensor& seed,
                 const ForwardContext& context, std::int64_t most_bytes) {
  const std::int64_t rows = input.features.size(0);
  const std::int64_t classes = input.head.weight.size(0);
  const auto logit_bytes =
      static_cast<std::int64_t>(c10::elementSize(context.policy.Of(input.head.path).compute_type()));
  const bool probed = context.probe != nullptr;
  const std::int64_t at_once = probed ? rows : spec::RowsAtOnce(rows, classes * logit_bytes, most_bytes);
  const at::Tensor features = input.features.detach();
  std::vector<at::Tensor> losses;
  std::vector<at::Tensor> gradients;
  for (std::int64_t begin = 0; begin < rows; begin += at_once) {
    const std::int64_t count = std::min(at_once, rows - begin);
    const at::Tensor piece = features.narrow(0, begin, count).requires_grad_();
    const at::Tensor logits = context.Linear(input.head, piece);
    // The layer's backward pass does not read them again; a probe may have kept them for the rest of the iteration.
    LossGradient loss = CrossEntropyAndGradient(logits, targets.narrow(0, begin, count), seed, /*overwrite=*/!probed);
    losses.push_back(std::move(loss.loss_sum));
    gradients.push_back(torch::autograd::grad({logits}, {piece}, {std::move(loss.gradient)}).front());
  }
  if (losses.size() == 1) return {losses.front(), gradients.front()};
  return {at::stack(losses).sum(at::kDouble).to(at::kFloat), at::cat(gradients)};
}

}  // namespace mantissa::trainer
