// Reductions over the threads of a block, always in the same order: no atomics, so a sum has the same bits every time.
#pragma once

namespace mantissa::trainer::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffff;

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// The other one where one is NaN.
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Every lane gets the result, with the same bits: `combine` is commutative.
template <class T, class Combine>
__device__ T WarpReduce(T value, const Combine& combine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Over groups of kThreads neighbouring threads: a warp, or the block when it is larger. Every thread of the group gets
// the result. All threads of the block must come by.
template <int kThreads, class T, class Combine>
__device__ T Reduce(T value, const Combine& combine) {
  static_assert(kThreads % kWarp == 0);
  value = WarpReduce(value, combine);
  if constexpr (kThreads > kWarp) {
    __shared__ T of_warp[kThreads / kWarp];
    __syncthreads();  // a reduction before this one may still be reading
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
    __syncthreads();
    value = of_warp[0];
    for (int warp = 1; warp < kThreads / kWarp; ++warp) value = combine(value, of_warp[warp]);
  }
  return value;
}

}  // namespace mantissa::trainer::cuda
