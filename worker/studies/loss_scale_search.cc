#include "worker/studies/loss_scale_search.h"

#include <algorithm>
#include <cmath>

namespace mantissa::trainer {

LostShares SharesAt(const MagnitudeCounts& counts, int exponent) {
  if (counts.counted() == 0) return {};
  const Fp16Losses losses = counts.LossesAt(exponent);
  const auto of = static_cast<double>(counts.counted());
  return {static_cast<double>(losses.subnormal) / of, static_cast<double>(losses.flushed) / of,
          static_cast<double>(losses.overflowed) / of};
}

int BestExponent(const SampledGradients& gradients, int min_exponent, int max_exponent) {
  int best = max_exponent;
  while (best > min_exponent && gradients.largest.LossesAt(best + 1).overflowed > 0) --best;
  return best;
}

std::vector<v1::ScaleCandidate> SearchLossScale(const SampledGradients& gradients, int min_exponent, int max_exponent) {
  const int best = BestExponent(gradients, min_exponent, max_exponent);
  std::vector<v1::ScaleCandidate> candidates;
  for (int exponent = min_exponent; exponent <= max_exponent; ++exponent) {
    const LostShares shares = SharesAt(gradients.all, exponent);
    const std::int64_t skipped = gradients.largest.LossesAt(exponent).overflowed + gradients.nonfinite;
    v1::ScaleCandidate& candidate = candidates.emplace_back();
    candidate.set_loss_scale(std::ldexp(1.0, exponent));
    candidate.set_subnormal_share(shares.subnormal);
    candidate.set_flushed_share(shares.flushed);
    candidate.set_overflow_share(shares.overflowed);
    if (gradients.iterations > 0) {
      candidate.set_skipped_share(static_cast<double>(skipped) / static_cast<double>(gradients.iterations));
    }
    candidate.set_best(exponent == best);
  }
  return candidates;
}

std::vector<int> ExponentsToCheck(int best, int min_exponent, int max_exponent) {
  constexpr int kNeighbours = 2;
  std::vector<int> exponents;
  for (int exponent = std::max(min_exponent, best - kNeighbours);
       exponent <= std::min(max_exponent, best + kNeighbours); ++exponent) {
    exponents.push_back(exponent);
  }
  return exponents;
}

}  // namespace mantissa::trainer
