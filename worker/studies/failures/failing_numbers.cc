#include "worker/studies/failures/failing_numbers.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include <ATen/ATen.h>

#include "worker/models/initialise.h"

namespace mantissa::trainer {
namespace {

// Drawn by number and not from a generator: the same on every device. `which` tells tensors of one experiment apart.
at::Tensor Normal(at::IntArrayRef shape, std::uint64_t seed, std::uint32_t which, double deviation,
                  c10::Device device) {
  const at::Tensor values = at::empty(shape, at::TensorOptions(at::kFloat).device(device));
  FillNormal(values, {seed, which}, deviation);
  return values;
}

// In [0, 1).
at::Tensor Uniform(at::IntArrayRef shape, std::uint64_t seed, std::uint32_t which, c10::Device device) {
  const at::Tensor values = at::empty(shape, at::TensorOptions(at::kFloat).device(device));
  FillUniform(values, {seed, which}, 0.5);
  return values.add_(0.5);
}

double ShareOf(const at::Tensor& mask) { return mask.to(at::kDouble).mean().item<double>(); }

double NonFiniteShare(const at::Tensor& values) { return ShareOf(at::isfinite(values).logical_not()); }

// (rows, classes), every op in the type of the logits.
at::Tensor Softmax(const at::Tensor& logits, bool subtract_largest) {
  const at::Tensor exponents = subtract_largest ? logits - logits.amax({1}, /*keepdim=*/true) : logits;
  const at::Tensor powers = exponents.exp();
  return powers / powers.sum({1}, /*keepdim=*/true);
}

// One number after another, in the type of `sum`: a row of `values` at each step.
at::Tensor SumOneByOne(const at::Tensor& values, at::Tensor sum) {
  for (std::int64_t i = 0; i < values.size(0); ++i) sum.add_(values[i]);
  return sum;
}

// Of a gradient to an embedding, (lookups, width): the table's, (rows, width), in the gradient's type.
at::Tensor TableGradient(const at::Tensor& gradient, const at::Tensor& tokens, std::int64_t rows) {
  return at::embedding_dense_backward(gradient, tokens, rows, /*padding_idx=*/-1, /*scale_grad_by_freq=*/false);
}

// Rows that hold a number which is not finite, or a 0 that should be none.
double LostRows(const at::Tensor& table, const at::Tensor& exact) {
  const at::Tensor lost = at::isfinite(table).logical_not().logical_or((table == 0).logical_and(exact != 0));
  return ShareOf(lost.any(1));
}

}  // namespace

Experiment SoftmaxOverflow(std::uint64_t seed, c10::Device device) {
  const at::Tensor logits = Normal({256, 64}, seed, 0, 8, device);
  const auto share = [&](at::ScalarType type, bool subtract) {
    return ShareOf(at::isfinite(Softmax(logits.to(type), subtract)).all(1).logical_not());
  };
  Experiment experiment;
  experiment.mode = v1::FailureModes::SOFTMAX_OVERFLOW;
  experiment.quantity = "share of rows with a probability that is not finite";
  experiment.reference = share(at::kFloat, false);
  experiment.low = share(at::kHalf, false);
  experiment.remedied = share(at::kHalf, true);
  experiment.setting = absl::StrFormat("Exponentials of logits up to %.3g over their sum", logits.max().item<double>());
  experiment.cause = "exponentials beyond 65504 are Inf, and Inf over Inf is NaN";
  experiment.remedy = "With the largest logit of each row subtracted first";
  return experiment;
}

Experiment LargeReduction(std::uint64_t seed, c10::Device device) {
  constexpr std::int64_t kTerms = 8192;
  constexpr std::int64_t kSums = 64;
  // The very numbers that the low format adds up, so that their own rounding counts for nothing.
  const at::Tensor values = Uniform({kTerms, kSums}, seed, 0, device).to(at::kHalf);
  const at::Tensor exact = values.to(at::kDouble).sum({0});
  const auto error = [&](at::ScalarType type) {
    const at::Tensor sum = SumOneByOne(values.to(type), at::zeros({kSums}, values.options().dtype(type)));
    return ((sum.to(at::kDouble) - exact).abs() / exact).mean().item<double>();
  };
  Experiment experiment;
  experiment.mode = v1::FailureModes::LARGE_REDUCTION;
  experiment.quantity = "relative error of the sum";
  experiment.reference = error(at::kFloat);
  experiment.low = error(at::kHalf);
  experiment.remedied = error(at::kFloat);
  experiment.tolerance = 1e-3;
  experiment.setting = absl::StrFormat("A sum of %d numbers, kept in the format", kTerms);
  experiment.cause = "a number below half a step of the sum so far changes nothing";
  experiment.remedy = "With the FP16 numbers added up in FP32";
  return experiment;
}

Experiment SmallEpsilon(std::uint64_t seed, c10::Device device) {
  at::Tensor gradients = Normal({4096}, seed, 0, 1e-5, device);
  gradients.narrow(0, 0, 512).zero_();  // of inputs that are off
  // As an optimizer divides by the root of the second moment.
  const auto share = [&](at::ScalarType type, double epsilon) {
    const at::Tensor g = gradients.to(type);
    return NonFiniteShare(g / ((g * g).sqrt() + at::full({}, epsilon, g.options())));
  };
  constexpr double kHeld = 1e-4;
  Experiment experiment;
  experiment.mode = v1::FailureModes::SMALL_EPSILON;
  experiment.quantity = "share of updates that are not finite";
  experiment.reference = share(at::kFloat, 1e-8);
  experiment.low = share(at::kHalf, 1e-8);
  experiment.remedied = share(at::kHalf, kHeld);
  experiment.setting = "Gradients of about 1e-5 over the root of their squares plus an epsilon of 1e-8";
  experiment.cause = "squares and epsilon are 0 in the format, and the division is by 0";
  experiment.remedy = absl::StrFormat("With an epsilon of %g, which FP16 holds (or the division in FP32)", kHeld);
  return experiment;
}

Experiment LostUpdates(std::uint64_t seed, c10::Device device) {
  constexpr int kSteps = 1250;  // 16 steps of the format in all, so that rounding the end costs nothing
  constexpr double kUpdate = 1e-4;
  // In [1, 2), where a step of BF16 is 2^-7.
  const at::Tensor start = (Uniform({4096}, seed, 0, device) + 1).to(at::kBFloat16);
  const auto moved = [&](const at::Tensor& weights) {
    const at::Tensor way = start.to(at::kDouble) - weights.to(at::kDouble);
    return way.mean().item<double>() / (kSteps * kUpdate);
  };
  const auto train = [&](at::ScalarType type) {
    const at::Tensor weights = start.to(type, /*non_blocking=*/false, /*copy=*/true);
    const at::Tensor update = at::full({}, kUpdate, weights.options());
    for (int i = 0; i < kSteps; ++i) weights.sub_(update);
    return weights;
  };
  const at::Tensor full = train(at::kFloat);
  Experiment experiment;
  experiment.mode = v1::FailureModes::LOST_UPDATES;
  experiment.precision = v1::PrecisionSpec::BF16;
  experiment.quantity = "share of the updates that the weights took";
  experiment.reference = moved(full);
  experiment.low = moved(train(at::kBFloat16));
  experiment.remedied = moved(full.to(at::kBFloat16));  // what products read beside the masters
  experiment.tolerance = 0.1;
  experiment.setting = absl::StrFormat("%d updates of %g to weights between 1 and 2", kSteps, kUpdate);
  experiment.cause = "an update below half a step of the format rounds back to where the weight was";
  experiment.remedy = "With updates made to FP32 masters, and the BF16 weights cast from them (storage: MASTER_FP32)";
  return experiment;
}

Experiment EmbeddingGradients(std::uint64_t seed, c10::Device device) {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kWidth = 8;
  constexpr std::int64_t kMost = 1 << 13;
  // Zipf's law: row r is looked up kMost / (r + 1)^2 times; a rare one's gradient is small besides.
  std::vector<std::int64_t> tokens;
  std::vector<float> sizes;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const std::int64_t times = std::max<std::int64_t>(1, kMost / ((row + 1) * (row + 1)));
    tokens.insert(tokens.end(), static_cast<std::size_t>(times), row);
    sizes.insert(sizes.end(), static_cast<std::size_t>(times), times > kMost / 100 ? 16.0f : 1e-9f);
  }
  const std::int64_t lookups = static_cast<std::int64_t>(tokens.size());
  const at::Tensor indices = at::tensor(tokens, at::kLong).to(device);
  const at::Tensor gradient =
      (Uniform({lookups, kWidth}, seed, 0, device) + 0.5) * at::tensor(sizes).to(device).unsqueeze(1);
  const at::Tensor exact = TableGradient(gradient.to(at::kDouble), indices, kRows);
  const auto lost = [&](at::ScalarType type) {
    return LostRows(TableGradient(gradient.to(type), indices, kRows), exact);
  };
  Experiment experiment;
  experiment.mode = v1::FailureModes::EMBEDDING_GRADIENTS;
  experiment.quantity = "share of rows whose gradient became Inf or 0";
  experiment.reference = lost(at::kFloat);
  experiment.low = lost(at::kHalf);
  experiment.remedied = lost(at::kFloat);
  experiment.setting =
      absl::StrFormat("%d look-ups in a table of %d rows, %d of them of one row", lookups, kRows, kMost);
  experiment.cause = "what a frequent row gathers leaves the format, and what a rare one gets is below it";
  experiment.remedy = "With the embedding's output and gradient in FP32, as the precision table has them";
  return experiment;
}

}  // namespace mantissa::trainer
