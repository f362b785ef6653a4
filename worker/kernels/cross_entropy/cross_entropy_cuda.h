// The CUDA twins of cross-entropy's two ops. All pointers are on the stream's device.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// (rows, classes) numbers of a type, contiguous.
struct LogitsView {
  const void* data = nullptr;
  NumberType type = NumberType::kFloat;
  std::int64_t rows = 0;
  std::int64_t classes = 0;
};

// `normalizers` and `losses` (rows), `sum` (1). A target that is no class cannot be refused without waiting for the
// device: it makes the loss NaN, which skips the iteration.
void LaunchCrossEntropyForward(const LogitsView& logits, const std::int64_t* targets, float* normalizers, float* losses,
                               float* sum, cudaStream_t stream);

// `gradient` (1), of the sum; `result` is like the logits.
void LaunchCrossEntropyBackward(const float* gradient, const LogitsView& logits, const std::int64_t* targets,
                                const float* normalizers, void* result, cudaStream_t stream);

// Both at once, of `incoming` (1) x the sum. `gradient` may be the logits themselves.
void LaunchCrossEntropyAndGradient(const float* incoming, const LogitsView& logits, const std::int64_t* targets,
                                   float* losses, float* sum, void* gradient, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
