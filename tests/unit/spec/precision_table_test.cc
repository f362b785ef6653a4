#include "proto/spec/precision_table.h"

#include <cmath>
#include <limits>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace mantissa::spec {
namespace {

using Mode = v1::PrecisionSpec;

TEST(PrecisionTableTest, ProductsReadLowPrecisionSumInFp32AndRoundOnce) {
  for (const OpClass op : {OpClass::kMatmul, OpClass::kConvolution, OpClass::kAttention}) {
    for (const auto& [mode, format] :
         {std::pair(Mode::FP16, NumberFormat::kFloat16), std::pair(Mode::BF16, NumberFormat::kBfloat16),
          std::pair(Mode::FP32, NumberFormat::kFloat32)}) {
      const OpPrecision precision = PrecisionOf(op, mode);
      EXPECT_EQ(precision.input, format);
      EXPECT_EQ(precision.compute, NumberFormat::kFloat32);
      EXPECT_EQ(precision.output, format);
      EXPECT_FALSE(precision.follows_operands);
    }
    EXPECT_EQ(PrecisionOf(op, Mode::TF32).input, NumberFormat::kTensorFloat32);
    EXPECT_EQ(PrecisionOf(op, Mode::TF32).output, NumberFormat::kFloat32);
  }
}

TEST(PrecisionTableTest, NormsSoftmaxLossReductionsAndEmbeddingsAreFp32InEveryMode) {
  for (const OpClass op :
       {OpClass::kNorm, OpClass::kSoftmax, OpClass::kLoss, OpClass::kReduction, OpClass::kEmbedding}) {
    for (const Mode::Mode mode : {Mode::FP32, Mode::TF32, Mode::FP16, Mode::BF16}) {
      const OpPrecision precision = PrecisionOf(op, mode);
      EXPECT_EQ(precision.input, NumberFormat::kFloat32) << OpClassName(op);
      EXPECT_EQ(precision.compute, NumberFormat::kFloat32) << OpClassName(op);
      EXPECT_EQ(precision.output, NumberFormat::kFloat32) << OpClassName(op);
      EXPECT_FALSE(precision.follows_operands) << OpClassName(op);
    }
  }
}

TEST(PrecisionTableTest, ElementwiseOpsFollowTheirOperands) {
  const OpPrecision precision = PrecisionOf(OpClass::kElementwise, Mode::BF16);
  EXPECT_TRUE(precision.follows_operands);
  EXPECT_EQ(precision.input, NumberFormat::kBfloat16);
  EXPECT_EQ(precision.compute, NumberFormat::kFloat32);
  // No tensor is ever kept in TF32.
  EXPECT_EQ(PrecisionOf(OpClass::kElementwise, Mode::TF32).output, NumberFormat::kFloat32);
  EXPECT_EQ(Widest(NumberFormat::kBfloat16, NumberFormat::kFloat32), NumberFormat::kFloat32);
  EXPECT_EQ(Widest(NumberFormat::kBfloat16, NumberFormat::kBfloat16), NumberFormat::kBfloat16);
  EXPECT_EQ(Widest(NumberFormat::kFloat16, NumberFormat::kBfloat16), NumberFormat::kFloat32);
}

TEST(PrecisionTableTest, AnUnknownModeIsFp32) {
  EXPECT_EQ(ComputeFormat(Mode::MODE_UNSPECIFIED), NumberFormat::kFloat32);
  EXPECT_EQ(ComputeFormat(static_cast<Mode::Mode>(99)), NumberFormat::kFloat32);
}

TEST(NumberFactsTest, Float32IsThePlatforms) {
  using Limits = std::numeric_limits<float>;
  const NumberFacts facts = FactsOf(NumberFormat::kFloat32);
  EXPECT_EQ(facts.bytes, 4);
  EXPECT_EQ(facts.max, Limits::max());
  EXPECT_EQ(facts.min_normal, Limits::min());
  EXPECT_EQ(facts.min_subnormal, Limits::denorm_min());
  EXPECT_EQ(facts.epsilon, Limits::epsilon());
}

TEST(NumberFactsTest, HalfPrecisionFormats) {
  const NumberFacts half = FactsOf(NumberFormat::kFloat16);
  EXPECT_EQ(half.bytes, 2);
  EXPECT_EQ(half.max, 65504);
  EXPECT_EQ(half.min_normal, std::ldexp(1.0, -14));
  EXPECT_EQ(half.min_subnormal, std::ldexp(1.0, -24));
  EXPECT_EQ(half.epsilon, std::ldexp(1.0, -10));
  const NumberFacts brain = FactsOf(NumberFormat::kBfloat16);
  EXPECT_EQ(brain.bytes, 2);
  EXPECT_EQ(brain.max, 0x1.fep127);
  EXPECT_EQ(brain.min_normal, std::numeric_limits<float>::min());
  EXPECT_EQ(brain.epsilon, std::ldexp(1.0, -7));
}

TEST(NumberFactsTest, FormatsFillTheirBits) {
  for (const NumberFormat format : kNumberFormats) {
    const NumberFacts facts = FactsOf(format);
    const int bits = 1 + facts.exponent_bits + facts.fraction_bits;
    if (format == NumberFormat::kTensorFloat32) {
      EXPECT_EQ(bits, 19);
    } else {
      EXPECT_EQ(bits, 8 * facts.bytes) << facts.name;
    }
    EXPECT_LT(facts.min_subnormal, facts.min_normal);
  }
}

TEST(PrecisionTableTest, EveryNameStandsOnce) {
  std::set<std::string_view> names;
  for (const OpClass op : kOpClasses) EXPECT_TRUE(names.insert(OpClassName(op)).second);
  for (const NumberFormat format : kNumberFormats) EXPECT_TRUE(names.insert(FactsOf(format).name).second);
}

}  // namespace
}  // namespace mantissa::spec
