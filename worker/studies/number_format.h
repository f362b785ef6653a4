// What rounding into a number format makes of a value, and what numbers a format has. All of it is computed, in double
// arithmetic, from how many bits of exponent and fraction the format has and whether it keeps codes for Inf; no entry
// of a table is recited. Pure.
//
// FP8: OCP 8-bit Floating Point Specification (OFP8), revision 1.0. TF32: FP32's exponent with 10 bits of fraction, its
// subnormals rounded like the rest, as worker/kernels/round_tf32 has it.
#pragma once

#include <cstdint>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"

namespace mantissa::trainer {

// Immutable; thread-safe.
class NumberRounding {
 public:
  // `largest`: the largest finite magnitude among the values that are rounded, 0 for none. It sets the steps of INT8;
  // no other format reads it.
  NumberRounding(v1::NumberFormat::Code format, double largest);

  // To the nearest number of the format, ties to even. Beyond the largest: Inf where the format has it, NaN in
  // FP8_E4M3, the largest in INT8. NaN stays NaN, which is no number of INT8.
  double Round(double value) const;

  // What has become of `value`.
  v1::RoundedValue::Outcome OutcomeOf(double value) const;

  std::int32_t exponent_bits() const { return exponent_bits_; }
  std::int32_t fraction_bits() const { return fraction_bits_; }
  // 0 for INT8, whose steps are equal.
  double smallest_normal() const { return smallest_normal_; }

 private:
  double RoundToSteps(double value) const;

  const v1::NumberFormat::Code format_;
  const double largest_;  // INT8's
  std::int32_t exponent_bits_ = 0;
  std::int32_t fraction_bits_ = 0;
  double smallest_normal_ = 0;
  double beyond_ = 0;  // the first power of two, or number, that is out of range
};

// Found by rounding. `largest` as above.
v1::FormatRow DescribeFormat(v1::NumberFormat::Code format, double largest);

// Of one value. `rounding` is that of `format`.
v1::RoundedValue RoundedValueOf(v1::NumberFormat::Code format, const NumberRounding& rounding, double value);

}  // namespace mantissa::trainer
