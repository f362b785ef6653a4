// The parts of the tensor-core study that are decided from shapes and rows alone.
#pragma once

#include <cstdint>
#include <string>

#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/study.pb.h"
#include "worker/studies/machine/product.h"

namespace mantissa::trainer {

// What every dimension should be a multiple of: rows of 16 bytes. 8 for FP16 and BF16, 4 for TF32 and FP32.
std::int32_t AlignmentOf(v1::PrecisionSpec::Mode mode);

// With every dimension rounded up to the next multiple; the same when it is aligned.
v1::MatrixShape AlignedShape(const v1::MatrixShape& shape, v1::PrecisionSpec::Mode mode);

// From rows of (shape, precision, aligned, times), the measured peaks and what calls cost: throughput of the shape's
// own operations, share of the peak, gain of padding, and notes. A row faster than its mode's peak raises it. Rows that
// measure a launch have a note, and nothing that follows from a time.
void CompleteTensorCores(const CallSeconds& calls, v1::TensorCoreReport& report);

// One paragraph, of a report that is complete. `has_tensor_cores`: that the device is a GPU.
std::string TensorCoreFinding(const v1::TensorCoreReport& report, bool has_tensor_cores);

}  // namespace mantissa::trainer
