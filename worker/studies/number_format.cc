#include "worker/studies/number_format.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace mantissa::trainer {
namespace {

using Format = v1::NumberFormat;
using Outcome = v1::RoundedValue;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSteps = 127;  // of INT8, on either side of zero

struct Layout {
  std::int32_t exponent_bits = 0;
  std::int32_t fraction_bits = 0;
};

Layout LayoutOf(Format::Code format) {
  switch (format) {
    case Format::FP64:
      return {11, 52};
    case Format::FP32:
      return {8, 23};
    case Format::TF32:
      return {8, 10};
    case Format::FP16:
      return {5, 10};
    case Format::BF16:
      return {8, 7};
    case Format::FP8_E4M3:
      return {4, 3};
    case Format::FP8_E5M2:
      return {5, 2};
    default:
      return {0, 7};  // INT8: a sign and seven bits
  }
}

bool IsNumber(const NumberRounding& rounding, double value) { return rounding.Round(value) == value; }

// Grows from 1: powers of two, then every bit that may stand behind the leading one.
double LargestOf(const NumberRounding& rounding) {
  double largest = 1;
  while (std::isfinite(2 * largest) && IsNumber(rounding, 2 * largest)) largest *= 2;
  for (double part = largest / 2; largest + part > largest; part /= 2) {
    if (std::isfinite(largest + part) && IsNumber(rounding, largest + part)) largest += part;
  }
  return largest;
}

double EpsilonOf(const NumberRounding& rounding) {
  double epsilon = 1;
  while (1 + epsilon / 2 > 1 && IsNumber(rounding, 1 + epsilon / 2)) epsilon /= 2;
  return epsilon;
}

// The last power of two that still has a neighbour at its own epsilon.
double SmallestNormalOf(const NumberRounding& rounding, double epsilon) {
  double normal = 1;
  while (IsNumber(rounding, normal / 2 * (1 + epsilon)) && normal / 2 * (1 + epsilon) != normal / 2) normal /= 2;
  return normal;
}

double SmallestOf(const NumberRounding& rounding) {
  double smallest = 1;
  while (smallest / 2 > 0 && IsNumber(rounding, smallest / 2)) smallest /= 2;
  return smallest;
}

void DescribeSteps(double largest, v1::FormatRow& row) {
  // Without a value to set it, of a scale for values up to 1.
  const double top = largest > 0 ? largest : 1;
  row.set_largest(top);
  row.set_smallest_normal(top / kSteps);
  row.set_smallest_subnormal(top / kSteps);
  row.set_epsilon(top / kSteps);
  if (largest > 0) {
    row.set_note(
        absl::StrFormat("equal steps of %.6g, which the largest value given, %.6g, sets: one far above the others "
                        "costs them their bits",
                        top / kSteps, top));
  } else {
    row.set_note(absl::StrFormat("equal steps of %.6g, for values up to %.6g", top / kSteps, top));
  }
}

void DescribeBinary(const NumberRounding& rounding, v1::FormatRow& row) {
  row.set_largest(LargestOf(rounding));
  row.set_epsilon(EpsilonOf(rounding));
  row.set_smallest_normal(SmallestNormalOf(rounding, row.epsilon()));
  row.set_smallest_subnormal(SmallestOf(rounding));
  row.set_has_infinity(std::isinf(rounding.Round(kInfinity)));
  if (!row.has_infinity()) row.set_note("values beyond the largest, Inf among them, become NaN");
  if (row.format() == Format::TF32) row.set_note("read by products; kept in the 32 bits of FP32");
}

}  // namespace

NumberRounding::NumberRounding(v1::NumberFormat::Code format, double largest)
    : format_(format),
      largest_(largest),
      exponent_bits_(LayoutOf(format).exponent_bits),
      fraction_bits_(LayoutOf(format).fraction_bits) {
  if (format == Format::INT8) return;
  const int bias = (1 << (exponent_bits_ - 1)) - 1;
  smallest_normal_ = std::ldexp(1.0, 1 - bias);
  // An all-ones exponent is Inf and NaN, but in E4M3, where only its all-ones fraction is NaN.
  beyond_ = format == Format::FP8_E4M3 ? std::ldexp(2 - std::ldexp(1.0, -fraction_bits_), bias + 1)
                                       : std::ldexp(1.0, bias) * 2;
}

double NumberRounding::Round(double value) const {
  if (format_ == Format::INT8) return RoundToSteps(value);
  if (value == 0 || std::isnan(value)) return value;
  const double out_of_range =
      format_ == Format::FP8_E4M3 ? std::numeric_limits<double>::quiet_NaN() : std::copysign(kInfinity, value);
  if (std::isinf(value)) return out_of_range;
  int exponent = 0;
  std::frexp(value, &exponent);  // |value| in [2^(exponent - 1), 2^exponent)
  int least = 0;
  std::frexp(smallest_normal_, &least);
  // The distance of numbers here; below the smallest normal one it stays what it is there.
  const int unit = std::max(exponent, least) - 1 - fraction_bits_;
  // In the default rounding mode: to nearest, ties to even.
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
  return std::fabs(rounded) >= beyond_ ? out_of_range : rounded;
}

double NumberRounding::RoundToSteps(double value) const {
  if (std::isnan(value)) return value;
  if (largest_ <= 0) return 0;
  const double steps = std::isinf(value) ? std::copysign(kSteps, value) : std::nearbyint(value / largest_ * kSteps);
  return std::clamp(steps, -kSteps, kSteps) / kSteps * largest_;
}

v1::RoundedValue::Outcome NumberRounding::OutcomeOf(double value) const {
  if (std::isnan(value)) return format_ == Format::INT8 ? Outcome::OUT_OF_RANGE : Outcome::EXACT;
  const double rounded = Round(value);
  if (rounded == value) return Outcome::EXACT;
  if (std::isinf(rounded)) return Outcome::OVERFLOW;
  if (std::isnan(rounded) || std::isinf(value)) return Outcome::OUT_OF_RANGE;
  if (rounded == 0) return Outcome::UNDERFLOW;
  if (format_ == Format::INT8) return std::fabs(value) > largest_ ? Outcome::OUT_OF_RANGE : Outcome::ROUNDED;
  return std::fabs(rounded) < smallest_normal_ ? Outcome::SUBNORMAL : Outcome::ROUNDED;
}

v1::FormatRow DescribeFormat(v1::NumberFormat::Code format, double largest) {
  const NumberRounding rounding(format, largest);
  v1::FormatRow row;
  row.set_format(format);
  row.set_bits(1 + rounding.exponent_bits() + rounding.fraction_bits());
  row.set_exponent_bits(rounding.exponent_bits());
  row.set_fraction_bits(rounding.fraction_bits());
  if (format == Format::INT8) {
    DescribeSteps(largest, row);
  } else {
    DescribeBinary(rounding, row);
  }
  // Of two logarithms: the quotient leaves double's range.
  row.set_decades(std::log10(row.largest()) - std::log10(row.smallest_subnormal()));
  return row;
}

v1::RoundedValue RoundedValueOf(v1::NumberFormat::Code format, const NumberRounding& rounding, double value) {
  v1::RoundedValue row;
  row.set_format(format);
  row.set_value(value);
  row.set_rounded(rounding.Round(value));
  row.set_outcome(rounding.OutcomeOf(value));
  if (value != 0 && std::isfinite(value) && std::isfinite(row.rounded())) {
    row.set_relative_error(std::fabs(row.rounded() - value) / std::fabs(value));
  }
  return row;
}

}  // namespace mantissa::trainer
