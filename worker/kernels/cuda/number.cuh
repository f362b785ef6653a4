// Numbers as kernels see them: the types of activations, exact to FP32 and back with one rounding, to nearest even as
// on the CPU; FP32's bits; approximations; several numbers at once.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace mantissa::trainer::cuda {

// Of FP32's infinity; those of NaN, without the sign, are larger.
inline constexpr unsigned kInfBits = 0x7f800000;

__device__ inline float Wide(float value) { return value; }
__device__ inline float Wide(__half value) { return __half2float(value); }
__device__ inline float Wide(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ inline void Narrow(float value, float* to) { *to = value; }
__device__ inline void Narrow(float value, __half* to) { *to = __float2half_rn(value); }
__device__ inline void Narrow(float value, __nv_bfloat16* to) { *to = __float2bfloat16_rn(value); }

// e^x and 1/x to within a few units of FP32's last place, for results that are rounded to 16 bits: what is below FP32's
// normal range becomes 0.
__device__ inline float QuickExp(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.4426950408889634f));
  return result;
}
__device__ inline float QuickReciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Several numbers that are read or written at once.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

template <class P>
inline bool IsAlignedFor(const void* pointer) {
  return reinterpret_cast<unsigned long long>(pointer) % alignof(P) == 0;
}

}  // namespace mantissa::trainer::cuda
