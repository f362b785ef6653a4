#include "worker/studies/number_format.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include "proto/spec/precision_table.h"
#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

using Format = v1::NumberFormat;
using Outcome = v1::RoundedValue;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double Rounded(Format::Code format, double value) { return NumberRounding(format, 0).Round(value); }

bool Same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// The code's number and all floats at which a cast could go wrong near it: its neighbours, and the middle between it
// and the next number with the neighbours of that.
template <class Number>
std::vector<float> PlacesAround(float number, float next) {
  std::vector<float> places;
  const auto add = [&](float value) {
    places.push_back(value);
    places.push_back(std::nextafter(value, std::numeric_limits<float>::infinity()));
    places.push_back(std::nextafter(value, -std::numeric_limits<float>::infinity()));
  };
  add(number);
  if (std::isfinite(number) && std::isfinite(next)) add(number + (next - number) / 2);
  return places;
}

// Every number of the format against ATen's own type. `codes`: how many bit patterns there are.
template <class Number, class Bits>
void ExpectAsAten(Format::Code format, std::uint32_t codes) {
  const NumberRounding rounding(format, 0);
  int wrong = 0;
  for (std::uint32_t code = 0; code < codes; ++code) {
    const auto number = static_cast<float>(Number(static_cast<Bits>(code), Number::from_bits()));
    const auto next = static_cast<float>(Number(static_cast<Bits>(code + 1), Number::from_bits()));
    if (!std::isnan(number)) {
      EXPECT_TRUE(Same(rounding.Round(number), number)) << "its own number " << number;
    }
    for (const float value : PlacesAround<Number>(number, next)) {
      const auto expected = static_cast<double>(static_cast<float>(Number(value)));
      if (!Same(rounding.Round(value), expected) && ++wrong < 10) {
        ADD_FAILURE() << value << " is rounded to " << rounding.Round(value) << ", by ATen to " << expected;
      }
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST(NumberFormatTest, Fp16IsAtensHalfAtEveryNumberAndAroundIt) {
  ExpectAsAten<c10::Half, std::uint16_t>(Format::FP16, 0x10000);
}

TEST(NumberFormatTest, Bf16IsAtensBfloat16AtEveryNumberAndAroundIt) {
  ExpectAsAten<c10::BFloat16, std::uint16_t>(Format::BF16, 0x10000);
}

TEST(NumberFormatTest, E4m3IsAtensFloat8AtEveryNumberAndAroundIt) {
  ExpectAsAten<c10::Float8_e4m3fn, std::uint8_t>(Format::FP8_E4M3, 0x100);
}

TEST(NumberFormatTest, E5m2IsAtensFloat8AtEveryNumberAndAroundIt) {
  ExpectAsAten<c10::Float8_e5m2, std::uint8_t>(Format::FP8_E5M2, 0x100);
}

TEST(NumberFormatTest, Fp32IsTheMachinesCastAndFp64IsTheValue) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-160, 130);
  for (int i = 0; i < 100'000; ++i) {
    const double value =
        std::ldexp(1 + std::ldexp(static_cast<double>(random() >> 12), -52), static_cast<int>(exponent(random)));
    ASSERT_EQ(Rounded(Format::FP32, value), static_cast<double>(static_cast<float>(value))) << value;
    ASSERT_EQ(Rounded(Format::FP64, value), value);
  }
  EXPECT_EQ(Rounded(Format::FP64, 5e-324), 5e-324);
  EXPECT_EQ(Rounded(Format::FP64, std::numeric_limits<double>::max()), std::numeric_limits<double>::max());
}

TEST(NumberFormatTest, Tf32IsTheRoundingThatProductsUse) {
  static const auto op = FindOp<at::Tensor(const at::Tensor&)>("mantissa::round_tf32");
  std::vector<float> values;
  std::mt19937 random(2);
  for (int i = 0; i < 100'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isfinite(value)) values.push_back(value);
  }
  for (const float tie : {1 + 0x1p-11f, 1 + 0x3p-11f, 0x1p-137f, 0x3p-137f, 0x1.ffep127f, 0x1.fffp127f})
    values.push_back(tie);
  const at::Tensor rounded = op.call(at::tensor(values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(Rounded(Format::TF32, values[i]), rounded[static_cast<std::int64_t>(i)].item<float>()) << values[i];
  }
}

TEST(NumberFormatTest, AValueIsRoundedOnceAndNotThroughFp32) {
  // Above the middle of two numbers of FP16 by less than FP32 can hold: by way of FP32 it would be a tie.
  const double value = 1 + 0x1p-11 + 0x1p-40;
  EXPECT_EQ(Rounded(Format::FP16, value), 1 + 0x1p-10);
  EXPECT_EQ(static_cast<float>(c10::Half(static_cast<float>(value))), 1);
}

TEST(NumberFormatTest, Int8HasEqualStepsUpToTheLargestOfItsValues) {
  const NumberRounding rounding(Format::INT8, 254);  // steps of 2
  EXPECT_EQ(rounding.Round(254), 254);
  EXPECT_EQ(rounding.Round(-254), -254);
  EXPECT_EQ(rounding.Round(3), 4) << "1.5 steps: the tie goes to the even number of them";
  EXPECT_EQ(rounding.Round(1), 0) << "half a step";
  EXPECT_EQ(rounding.Round(1.1), 2);
  EXPECT_EQ(rounding.Round(300), 254);
  EXPECT_EQ(rounding.Round(-kInfinity), -254);
  EXPECT_EQ(rounding.OutcomeOf(300), Outcome::OUT_OF_RANGE);
  EXPECT_EQ(rounding.OutcomeOf(kInfinity), Outcome::OUT_OF_RANGE);
  EXPECT_EQ(rounding.OutcomeOf(kNaN), Outcome::OUT_OF_RANGE);
  EXPECT_EQ(rounding.OutcomeOf(1), Outcome::UNDERFLOW);
  EXPECT_EQ(rounding.OutcomeOf(1.1), Outcome::ROUNDED) << "there are no subnormals among equal steps";
  EXPECT_EQ(rounding.OutcomeOf(254), Outcome::EXACT);
  EXPECT_EQ(NumberRounding(Format::INT8, 1e308).Round(1e308), 1e308);
  EXPECT_EQ(NumberRounding(Format::INT8, 0).Round(0), 0) << "nothing sets its scale";
}

TEST(NumberFormatTest, WhatBecomesOfAValueHasAName) {
  const auto outcome = [](Format::Code format, double value) {
    return Outcome::Outcome_Name(NumberRounding(format, 0).OutcomeOf(value));
  };
  EXPECT_EQ(outcome(Format::FP16, 0x1p-24), "EXACT");
  EXPECT_EQ(outcome(Format::FP16, 0x1p-25), "UNDERFLOW") << "the tie between 0 and 2^-24 goes to 0, which is even";
  EXPECT_EQ(outcome(Format::FP16, 0x1.001p-25), "SUBNORMAL");
  EXPECT_EQ(outcome(Format::FP16, 1e-5), "SUBNORMAL");
  EXPECT_EQ(outcome(Format::FP16, 0x1p-14), "EXACT");
  EXPECT_EQ(outcome(Format::FP16, 0.1), "ROUNDED");
  EXPECT_EQ(outcome(Format::FP16, 65519.99), "ROUNDED");
  EXPECT_EQ(outcome(Format::FP16, 65520), "OVERFLOW");
  EXPECT_EQ(outcome(Format::FP8_E4M3, 464), "ROUNDED");
  EXPECT_EQ(outcome(Format::FP8_E4M3, 464.1), "OUT_OF_RANGE");
  EXPECT_EQ(outcome(Format::FP8_E4M3, kInfinity), "OUT_OF_RANGE");
  EXPECT_EQ(outcome(Format::FP8_E5M2, kInfinity), "EXACT");
  EXPECT_EQ(outcome(Format::FP16, kNaN), "EXACT");
  EXPECT_EQ(outcome(Format::FP16, 0), "EXACT");
  EXPECT_EQ(outcome(Format::FP16, -1e-30), "UNDERFLOW");
}

TEST(NumberFormatTest, ARelativeErrorIsGivenWhereThereIsOne) {
  const auto row = [](Format::Code format, double value) {
    return RoundedValueOf(format, NumberRounding(format, 0), value);
  };
  EXPECT_DOUBLE_EQ(row(Format::FP16, 1e-10).relative_error(), 1);
  EXPECT_EQ(row(Format::FP16, 1).relative_error(), 0);
  EXPECT_NEAR(row(Format::BF16, -0.1).relative_error(), 0.0009765625, 1e-9);
  EXPECT_FALSE(row(Format::FP16, 0).has_relative_error());
  EXPECT_FALSE(row(Format::FP16, 1e10).has_relative_error());
  EXPECT_FALSE(row(Format::FP16, kInfinity).has_relative_error());
  EXPECT_FALSE(row(Format::FP8_E4M3, 1e4).has_relative_error());
}

// The seed calls 2^-14 FP16's smallest subnormal, and leaves subnormals out of the range.
TEST(NumberFormatTest, TheTableTellsNormalFromSubnormalNumbers) {
  const v1::FormatRow half = DescribeFormat(Format::FP16, 0);
  EXPECT_EQ(half.bits(), 16);
  EXPECT_EQ(half.exponent_bits(), 5);
  EXPECT_EQ(half.fraction_bits(), 10);
  EXPECT_EQ(half.largest(), 65504);
  EXPECT_EQ(half.smallest_normal(), 0x1p-14);
  EXPECT_EQ(half.smallest_subnormal(), 0x1p-24);
  EXPECT_EQ(half.epsilon(), 0x1p-10);
  EXPECT_TRUE(half.has_infinity());
  EXPECT_NEAR(half.decades(), std::log10(65504 / 0x1p-24), 1e-12);
  EXPECT_GT(half.decades(), std::log10(65504 / 0x1p-14));
}

TEST(NumberFormatTest, TheTableAgreesWithTheMachineAndThePrecisionTable) {
  const v1::FormatRow wide = DescribeFormat(Format::FP64, 0);
  using Double = std::numeric_limits<double>;
  EXPECT_EQ(wide.largest(), Double::max());
  EXPECT_EQ(wide.smallest_normal(), Double::min());
  EXPECT_EQ(wide.smallest_subnormal(), Double::denorm_min());
  EXPECT_EQ(wide.epsilon(), Double::epsilon());
  EXPECT_TRUE(std::isfinite(wide.decades()));
  EXPECT_EQ(wide.bits(), 64);
  for (const auto& [code, format] : {std::pair{Format::FP32, spec::NumberFormat::kFloat32},
                                     std::pair{Format::TF32, spec::NumberFormat::kTensorFloat32},
                                     std::pair{Format::FP16, spec::NumberFormat::kFloat16},
                                     std::pair{Format::BF16, spec::NumberFormat::kBfloat16}}) {
    const v1::FormatRow row = DescribeFormat(code, 0);
    const spec::NumberFacts facts = spec::FactsOf(format);
    EXPECT_EQ(row.largest(), facts.max) << facts.name;
    EXPECT_EQ(row.smallest_normal(), facts.min_normal) << facts.name;
    EXPECT_EQ(row.smallest_subnormal(), facts.min_subnormal) << facts.name;
    EXPECT_EQ(row.epsilon(), facts.epsilon) << facts.name;
    EXPECT_TRUE(row.has_infinity()) << facts.name;
  }
  EXPECT_EQ(DescribeFormat(Format::TF32, 0).bits(), 19);
  EXPECT_EQ(DescribeFormat(Format::TF32, 0).note(), "read by products; kept in the 32 bits of FP32");
  EXPECT_EQ(DescribeFormat(Format::FP32, 0).note(), "");
}

TEST(NumberFormatTest, EightBitFormatsAreThoseOfTheStandard) {
  const v1::FormatRow e4m3 = DescribeFormat(Format::FP8_E4M3, 0);
  EXPECT_EQ(e4m3.largest(), 448);
  EXPECT_EQ(e4m3.smallest_normal(), 0x1p-6);
  EXPECT_EQ(e4m3.smallest_subnormal(), 0x1p-9);
  EXPECT_EQ(e4m3.epsilon(), 0.125);
  EXPECT_FALSE(e4m3.has_infinity());
  const v1::FormatRow e5m2 = DescribeFormat(Format::FP8_E5M2, 0);
  EXPECT_EQ(e5m2.largest(), 57344);
  EXPECT_EQ(e5m2.smallest_normal(), 0x1p-14);
  EXPECT_EQ(e5m2.smallest_subnormal(), 0x1p-16);
  EXPECT_EQ(e5m2.epsilon(), 0.25);
  EXPECT_TRUE(e5m2.has_infinity());
  EXPECT_EQ(e4m3.note(), "values beyond the largest, Inf among them, become NaN");
  EXPECT_EQ(e5m2.note(), "");
  EXPECT_EQ(e4m3.bits(), 8);
  EXPECT_EQ(e5m2.bits(), 8);
  const v1::FormatRow int8 = DescribeFormat(Format::INT8, 12.7);
  EXPECT_EQ(int8.bits(), 8);
  EXPECT_EQ(int8.largest(), 12.7);
  EXPECT_DOUBLE_EQ(int8.epsilon(), 0.1);
  EXPECT_NEAR(int8.decades(), std::log10(127), 1e-12);
  EXPECT_FALSE(int8.has_infinity());
  EXPECT_NE(int8.note().find("the largest value given, 12.7, sets"), std::string::npos) << int8.note();
  EXPECT_EQ(DescribeFormat(Format::INT8, 0).note(), "equal steps of 0.00787402, for values up to 1");
}

}  // namespace
}  // namespace mantissa::trainer
