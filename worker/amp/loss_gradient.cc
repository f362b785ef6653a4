#include "worker/amp/loss_gradient.h"

#include <tuple>

#include "worker/amp/op.h"

namespace mantissa::trainer {

LossGradient CrossEntropyAndGradient(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& seed,
                                     bool overwrite) {
  static const auto op =
      FindOp<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&, bool)>(
          "mantissa::cross_entropy_and_gradient");
  LossGradient result;
  // Without their history: it ends here, and the room is written over behind autograd's back.
  std::tie(result.loss_sum, result.gradient) = op.call(logits.variable_data(), targets, seed, overwrite);
  return result;
}

}  // namespace mantissa::trainer
