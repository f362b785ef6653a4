// Which number format each class of operation reads, computes in and writes, by precision mode; and what the formats
// are. The same table on CPU and CUDA; the trainer's ops obey it, `describe-precision` prints it.
//
// It equals CUDA autocast in what it computes where, and keeps every norm in FP32 as well, which autocast does not for
// batch norm and RMS norm.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "mantissa/v1/training.pb.h"

namespace mantissa::spec {

enum class NumberFormat { kFloat32, kTensorFloat32, kFloat16, kBfloat16 };

inline constexpr std::array<NumberFormat, 4> kNumberFormats = {NumberFormat::kFloat32, NumberFormat::kTensorFloat32,
                                                               NumberFormat::kFloat16, NumberFormat::kBfloat16};

enum class OpClass {
  kMatmul,
  kConvolution,
  kAttention,    // fused: scores, softmax and weighted sum in one op
  kElementwise,  // activations, residual sums, dropout
  kNorm,         // batch, layer and RMS norm
  kSoftmax,
  kLoss,
  kReduction,  // sums, means, norms of vectors
  kEmbedding,
};

inline constexpr std::array<OpClass, 9> kOpClasses = {
    OpClass::kMatmul,  OpClass::kConvolution, OpClass::kAttention, OpClass::kElementwise, OpClass::kNorm,
    OpClass::kSoftmax, OpClass::kLoss,        OpClass::kReduction, OpClass::kEmbedding};

struct OpPrecision {
  // Operands are cast to this first, unless `follows_operands`.
  NumberFormat input = NumberFormat::kFloat32;
  // Products and sums inside the op.
  NumberFormat compute = NumberFormat::kFloat32;
  // The result is rounded to this once, unless `follows_operands`.
  NumberFormat output = NumberFormat::kFloat32;
  // Input and output are the widest format among the operands; `input` and `output` then name the narrowest that can
  // be.
  bool follows_operands = false;
};

// FP32 for a mode that is unspecified or unknown.
OpPrecision PrecisionOf(OpClass op, v1::PrecisionSpec::Mode mode);

// The format matrix products read in this mode.
NumberFormat ComputeFormat(v1::PrecisionSpec::Mode mode);

// Whether it takes less memory than FP32.
bool IsLow(NumberFormat format);

// The wider of two: what a result is when its operands differ. FP16 with BF16 gives FP32.
NumberFormat Widest(NumberFormat a, NumberFormat b);

// An IEEE-like binary format: sign, exponent, fraction; subnormals, Inf and NaN.
struct NumberFacts {
  std::string_view name;   // `float16`
  std::int32_t bytes = 0;  // of storage; TF32 is kept in 4
  std::int32_t exponent_bits = 0;
  std::int32_t fraction_bits = 0;
  double max = 0;            // largest finite
  double min_normal = 0;     // smallest normal
  double min_subnormal = 0;  // smallest above zero
  double epsilon = 0;        // from 1 to the next number
};

NumberFacts FactsOf(NumberFormat format);

std::string_view OpClassName(OpClass op);  // `matmul`

}  // namespace mantissa::spec
