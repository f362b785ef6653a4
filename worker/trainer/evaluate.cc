#include "worker/trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace mantissa::trainer {

std::optional<v1::EvaluationResult> Evaluate(Model& model, const Dataset& data, const PrecisionPolicy& policy,
                                             const EvaluationOptions& options, Control& control) {
  const c10::NoGradGuard no_gradients;
  std::int64_t samples = data.size();
  if (options.max_batches > 0 && options.max_batches <= samples / options.batch_size) {
    samples = options.max_batches * options.batch_size;
  }
  double loss = 0;
  std::int64_t correct = 0;
  std::int64_t targets = 0;
  Batch batch;
  std::vector<std::int64_t> indices;
  for (std::int64_t begin = 0; begin < samples; begin += options.batch_size) {
    if (control.stop_requested()) return std::nullopt;
    indices.resize(static_cast<std::size_t>(std::min(options.batch_size, samples - begin)));
    std::iota(indices.begin(), indices.end(), begin);
    data.Gather(indices, batch);
    const at::Tensor logits = model.Forward(batch.input, {policy, {}, /*training=*/false});
    loss += policy.CrossEntropy(logits, batch.target).item<double>();
    correct += logits.argmax(-1).eq(batch.target).sum().item<std::int64_t>();
    targets += batch.targets;
  }
  v1::EvaluationResult result;
  result.set_loss(loss / static_cast<double>(targets));
  result.set_targets(targets);
  if (data.shape().context > 0) {
    result.set_perplexity(std::exp(result.loss()));
  } else {
    result.set_accuracy(static_cast<double>(correct) / static_cast<double>(targets));
  }
  return result;
}

}  // namespace mantissa::trainer
