// Writing the low-precision copies of FP32 values, each rounded once to nearest even: of cast_weights, and of the
// optimizers, which have the values at hand.
#pragma once

#include <cstdint>

#include "worker/kernels/cast_weights/cast_weights_cuda.h"
#include "worker/kernels/cast_weights/stored_weight.h"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {

// `shift`: of the parameter that element i belongs to (StoredWeight).
template <class T>
__device__ void StoreOne(float value, std::int64_t i, std::int64_t shift, T* weights) {
  if (shift != StoredWeight::kNowhere) Narrow(value, weights + i + shift);
}

// Elements i to i + 3, at once where `weights`, which are aligned for it, let them be.
template <class T>
__device__ void StoreFour(const float4& values, std::int64_t i, std::int64_t shift, T* weights) {
  if (shift == StoredWeight::kNowhere) return;
  Pack<T, 4> to;
  Narrow(values.x, &to.value[0]);
  Narrow(values.y, &to.value[1]);
  Narrow(values.z, &to.value[2]);
  Narrow(values.w, &to.value[3]);
  if ((i + shift) % 4 == 0) {
    *reinterpret_cast<Pack<T, 4>*>(weights + i + shift) = to;
  } else {
    for (int j = 0; j < 4; ++j) weights[i + shift + j] = to.value[j];
  }
}

// Calls body(weights) with the copies in their type.
template <class Body>
void WithLowType(const LowWeights& low, const Body& body) {
  if (low.type == NumberType::kHalf) {
    body(static_cast<__half*>(low.weights));
  } else {
    body(static_cast<__nv_bfloat16*>(low.weights));
  }
}

}  // namespace mantissa::trainer::cuda
