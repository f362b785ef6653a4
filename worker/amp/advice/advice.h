// What somebody who knows mixed precision would say about a run, and what it is based on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/training.pb.h"
#include "worker/amp/iteration_record.h"
#include "worker/amp/precision_statistics.h"
#include "worker/amp/value_range.h"

namespace mantissa::trainer {

struct Evidence {
  std::string name;
  double value = 0;
};

struct Advice {
  std::string rule;     // lower_snake, stable
  std::string message;  // one line for people: what is the matter, and what to do
  std::vector<Evidence> evidence;
};

// What the rules know of a run, after its newest iteration.
struct AdviceFacts {
  v1::PrecisionSpec::Mode mode = v1::PrecisionSpec::FP32;
  bool has_bf16 = true;  // the device has
  ScalerSettings scaler;
  IterationRecord record;
  PrecisionStats stats;
  bool scale_has_grown = false;
  std::optional<ModuleRanges> ranges;   // the newest sample
  std::optional<double> clipped_ratio;  // of the newest 200 applied iterations; absent before there are as many
  // Of the newest 64 applied iterations before this one; absent before there are as many.
  std::optional<double> median_loss;
  double loss_deviation = 0;  // median distance from that median
};

// The rules: pure, each in a file of its own. In FP16 and BF16 unless said otherwise.

// More than a tenth of the gradients that are not zero at some module would be zero in the format.
std::optional<Advice> GradientsFlushToZero(const AdviceFacts& facts);
// Every precision: the first modules get no gradient at all, while later ones do.
std::optional<Advice> GradientsVanish(const AdviceFacts& facts);
// Outputs of some module are within 2x of the format's largest number.
std::optional<Advice> ValuesNearMaximum(const AdviceFacts& facts);
// FP16: more than 2 % of a full window.
std::optional<Advice> ScaleBacksOff(const AdviceFacts& facts);
// FP16: the scale is still where it began after three growth intervals of applied iterations, or sits at its floor.
std::optional<Advice> ScaleNeverGrows(const AdviceFacts& facts);
// FP16 that is unstable, on a device that has BF16.
std::optional<Advice> ConsiderBf16(const AdviceFacts& facts);
// Every precision: at least 95 % of the newest 200 applied iterations.
std::optional<Advice> EveryStepIsClipped(const AdviceFacts& facts);
// Every precision: finite, but far from the running median.
std::optional<Advice> LossSpike(const AdviceFacts& facts);
// A skip that no scale is to blame for: any in BF16 and FP32, a loss that is not finite in FP16.
std::optional<Advice> NumericsNotPrecision(const AdviceFacts& facts);

}  // namespace mantissa::trainer
