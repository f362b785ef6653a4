// One product of matrices, (m, k) times (k, n), as training in a precision runs it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {

// (m, k) times (k, n).
v1::MatrixShape ShapeOf(std::int32_t m, std::int32_t n, std::int32_t k);

// Nothing where the device can multiply in this mode, else why it cannot.
std::optional<std::string> WhyNoProduct(const StudyEnvironment& environment, v1::PrecisionSpec::Mode mode);

// Sets the process to what a run in this mode would have: threads, and what a GPU's tensor cores read of FP32. It holds
// until the next call.
void PrepareProducts(const StudyEnvironment& environment, v1::PrecisionSpec::Mode mode);

// What is multiplied, in the mode's operand type: FP16 and BF16 are themselves, FP32 and TF32 are FP32.
struct Operands {
  at::Tensor a;  // (m, k)
  at::Tensor b;  // (k, n), in the layout's strides
};

// Of a unit normal, the same in every layout.
Operands MakeOperands(const v1::MatrixShape& shape, v1::PrecisionSpec::Mode mode,
                      v1::LayoutBenchmarkReport::Layout layout, c10::Device device);

// (m, n) in the operands' type. A low format on a CPU goes through the trainer's own op of a linear layer, which reads
// the second operand as (n, k) and copies every other layout first.
at::Tensor Multiply(v1::PrecisionSpec::Mode mode, const Operands& operands);
// What a report says of that; empty elsewhere.
std::string HowMultiplied(const StudyEnvironment& environment, v1::PrecisionSpec::Mode mode);

// Nothing when `product` is the operands' product to the mode's precision, else what is wrong: compared with the one in
// FP64, in at most 256 rows and 256 columns spread over it. An element may be off by the format's epsilon and FP32's
// for each of its k terms, times the sum of the terms' magnitudes.
std::optional<std::string> ProductError(v1::PrecisionSpec::Mode mode, const Operands& operands,
                                        const at::Tensor& product);

// Multiplications and additions.
double OperationsOf(std::int64_t m, std::int64_t n, std::int64_t k);
// Of an element in memory.
std::int64_t BytesOfElement(v1::PrecisionSpec::Mode mode);
// That a product reads and writes, each number once.
double BytesMoved(std::int64_t m, std::int64_t n, std::int64_t k, v1::PrecisionSpec::Mode mode);

// `(128, 512) x (512, 256) in FP16`.
std::string ProductText(std::int64_t m, std::int64_t n, std::int64_t k, v1::PrecisionSpec::Mode mode);
// Of a row of a report.
template <class Row>
std::string RowText(const Row& row) {
  return ProductText(row.m(), row.n(), row.k(), row.precision());
}

// Nothing when the device has this much memory free, else that it has not.
std::optional<std::string> WhyNoRoom(double bytes, const StudyEnvironment& environment);

// What a call of a product costs the host, on a GPU its launch: the time of one that is too small to count, by mode.
using CallSeconds = std::map<v1::PrecisionSpec::Mode, double>;

// A sample below this measures what a call costs, and not the product: 5 microseconds, or twice what a call takes where
// that is more, because operands of another layout may take a second launch.
double LaunchSeconds(v1::PrecisionSpec::Mode mode, const CallSeconds& calls);
// What a report says of such a sample.
std::string LaunchNote(double launch_seconds);

// Adds a sentence to a row's note.
void AddNote(const std::string& sentence, std::string& note);

}  // namespace mantissa::trainer
