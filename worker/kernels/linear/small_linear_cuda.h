// The CUDA twin of small_linear.
#pragma once

#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// All on the stream's device, of the compute type where nothing else is said; no side is 0.
struct SmallLinear {
  int rows = 0;
  int in = 0;
  int out = 0;
  NumberType compute = NumberType::kBfloat16;  // not kFloat
  int activation = 0;                          // as cpu::ActivationKind
  const void* x = nullptr;                     // (rows, in)
  bool x_is_float = false;
  const void* weight = nullptr;  // (out, in)
  bool weight_is_float = false;
};

// bias (out) in FP32 or null; `before` gets what went into the activation where it is not null; result (rows, out).
void LaunchSmallLinear(const SmallLinear& layer, const float* bias, void* before, void* result, cudaStream_t stream);

struct SmallLinearGradients {
  float* weight = nullptr;  // added to; may be null
  float* bias = nullptr;    // the same
  void* input = nullptr;    // written, (rows, in); may be null
  bool input_is_float = false;
};

// `gradient` (rows, out); `saved`: result, or what went into GELU; null without an activation.
void LaunchSmallLinearBackward(const SmallLinear& layer, const void* gradient, const void* saved,
                               const SmallLinearGradients& to, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
