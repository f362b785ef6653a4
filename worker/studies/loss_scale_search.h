// Which loss scale suits gradients best, from their counts. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "mantissa/v1/report.pb.h"
#include "worker/studies/magnitude_counts.h"

namespace mantissa::trainer {

// The gradients of some iterations.
struct SampledGradients {
  MagnitudeCounts all;
  MagnitudeCounts largest;      // one for each iteration with any: its largest element
  std::int64_t iterations = 0;  // that were sampled
  std::int64_t nonfinite = 0;   // of them: with an element that is not finite, in FP32 already
};

// For each scale 2^min to 2^max in order, what it would lose; the best one is marked.
std::vector<v1::ScaleCandidate> SearchLossScale(const SampledGradients& gradients, int min_exponent, int max_exponent);

// The exponent of the best scale: of the largest that would skip no iteration were it twice as large. Where there is
// none, the smallest there is.
int BestExponent(const SampledGradients& gradients, int min_exponent, int max_exponent);

// Up to five scales to train with: the best, and two below and above it, within 2^min to 2^max.
std::vector<int> ExponentsToCheck(int best, int min_exponent, int max_exponent);

// Of the elements that are finite and not 0; all 0 where there are none.
struct LostShares {
  double subnormal = 0;
  double flushed = 0;
  double overflowed = 0;
};
LostShares SharesAt(const MagnitudeCounts& counts, int exponent);

}  // namespace mantissa::trainer
