#include "proto/spec/precision_table.h"

#include <cmath>

namespace mantissa::spec {
namespace {

using Mode = v1::PrecisionSpec;

constexpr NumberFormat kFull = NumberFormat::kFloat32;

NumberFacts FactsOfBinary(std::string_view name, std::int32_t bytes, std::int32_t exponent_bits,
                          std::int32_t fraction_bits) {
  const std::int32_t bias = (1 << (exponent_bits - 1)) - 1;
  return {.name = name,
          .bytes = bytes,
          .exponent_bits = exponent_bits,
          .fraction_bits = fraction_bits,
          .max = std::ldexp(2.0 - std::ldexp(1.0, -fraction_bits), bias),
          .min_normal = std::ldexp(1.0, 1 - bias),
          .min_subnormal = std::ldexp(1.0, 1 - bias - fraction_bits),
          .epsilon = std::ldexp(1.0, -fraction_bits)};
}

}  // namespace

NumberFormat ComputeFormat(v1::PrecisionSpec::Mode mode) {
  switch (mode) {
    case Mode::FP16:
      return NumberFormat::kFloat16;
    case Mode::BF16:
      return NumberFormat::kBfloat16;
    case Mode::TF32:
      return NumberFormat::kTensorFloat32;
    default:
      return kFull;
  }
}

OpPrecision PrecisionOf(OpClass op, v1::PrecisionSpec::Mode mode) {
  const NumberFormat low = ComputeFormat(mode);
  // TF32 is a way to read operands; no result is ever kept in it.
  const NumberFormat result = low == NumberFormat::kTensorFloat32 ? kFull : low;
  switch (op) {
    case OpClass::kMatmul:
    case OpClass::kConvolution:
    case OpClass::kAttention:
      // Products of low-precision operands are summed in FP32 and rounded once, as tensor cores do.
      return {.input = low, .compute = kFull, .output = result};
    case OpClass::kElementwise:
      return {.input = result, .compute = kFull, .output = result, .follows_operands = true};
    case OpClass::kNorm:
    case OpClass::kSoftmax:
    case OpClass::kLoss:
    case OpClass::kReduction:
    case OpClass::kEmbedding:
      return {.input = kFull, .compute = kFull, .output = kFull};
  }
  return {};
}

bool IsLow(NumberFormat format) { return format == NumberFormat::kFloat16 || format == NumberFormat::kBfloat16; }

NumberFormat Widest(NumberFormat a, NumberFormat b) { return a == b ? a : kFull; }

NumberFacts FactsOf(NumberFormat format) {
  switch (format) {
    case NumberFormat::kTensorFloat32:
      return FactsOfBinary("tensorfloat32", 4, 8, 10);
    case NumberFormat::kFloat16:
      return FactsOfBinary("float16", 2, 5, 10);
    case NumberFormat::kBfloat16:
      return FactsOfBinary("bfloat16", 2, 8, 7);
    case NumberFormat::kFloat32:
      break;
  }
  return FactsOfBinary("float32", 4, 8, 23);
}

std::string_view OpClassName(OpClass op) {
  switch (op) {
    case OpClass::kMatmul:
      return "matmul";
    case OpClass::kConvolution:
      return "convolution";
    case OpClass::kAttention:
      return "attention";
    case OpClass::kElementwise:
      return "elementwise";
    case OpClass::kNorm:
      return "norm";
    case OpClass::kSoftmax:
      return "softmax";
    case OpClass::kLoss:
      return "loss";
    case OpClass::kReduction:
      return "reduction";
    case OpClass::kEmbedding:
      return "embedding";
  }
  return "unknown";
}

}  // namespace mantissa::spec
