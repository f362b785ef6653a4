// Cross-entropy of class indices, see cross_entropy.h: a warp for each row of few classes, a block for each of many.
// Sums run in a fixed order, so a loss has the same bits on every run.
#include <cmath>
#include <type_traits>

#include "worker/kernels/cross_entropy/cross_entropy.h"
#include "worker/kernels/cross_entropy/cross_entropy_cuda.h"
#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/cuda/shared_memory.cuh"

namespace mantissa::trainer::cuda {
namespace {

using kernels::kIgnoredTarget;

constexpr int kThreads = 256;
constexpr std::int64_t kWarpClasses = 1024;  // the most that a warp takes

// 16 bytes.
template <class T>
using Vector = Pack<T, 16 / sizeof(T)>;
template <class T>
constexpr int kVector = 16 / sizeof(T);

// The row of the calling thread when kLanes threads share one; past the last one in the last block.
template <int kLanes>
__device__ std::int64_t Row() {
  return static_cast<std::int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
}

// body(logit) over the calling thread's part of a row.
template <int kLanes, class T, class Body>
__device__ void ForLogits(const T* row, std::int64_t classes, bool vectors, const Body& body) {
  const int lane = threadIdx.x % kLanes;
  if (vectors) {
#pragma unroll 4
    for (std::int64_t i = lane; i < classes / kVector<T>; i += kLanes) {
      const Vector<T> logits = reinterpret_cast<const Vector<T>*>(row)[i];
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) body(Wide(logits.value[j]));
    }
  } else {
    for (std::int64_t i = lane; i < classes; i += kLanes) body(Wide(row[i]));
  }
}

template <class T, int kLanes>
__global__ void Forward(const T* logits, const std::int64_t* targets, std::int64_t rows, std::int64_t classes,
                        bool vectors, float* normalizers, float* losses) {
  WaitForPrevious();
  const std::int64_t row = Row<kLanes>();
  if (row >= rows) return;  // a whole warp: a block that has one row always has it
  const std::int64_t target = targets[row];
  const bool lane_zero = threadIdx.x % kLanes == 0;
  if (target == kIgnoredTarget || target < 0 || target >= classes) {
    const float result = target == kIgnoredTarget ? 0.0f : NAN;
    if (lane_zero) normalizers[row] = losses[row] = result;
    return;
  }
  const T* const from = logits + row * classes;
  // NaN among the logits does not show in the largest, but then in the sum.
  float largest = -INFINITY;
  ForLogits<kLanes>(from, classes, vectors, [&](float logit) { largest = fmaxf(largest, logit); });
  largest = Reduce<kLanes>(largest, Max());
  float total = 0;
  ForLogits<kLanes>(from, classes, vectors, [&](float logit) { total += expf(logit - largest); });
  total = Reduce<kLanes>(total, Add());
  if (!lane_zero) return;
  const double log_total = log(static_cast<double>(total));
  normalizers[row] = static_cast<float>(largest + log_total);
  // Not from the rounded normalizer: the two large numbers cancel.
  losses[row] = static_cast<float>((static_cast<double>(largest) - Wide(from[target])) + log_total);
}

__global__ void SumLosses(const float* losses, std::int64_t rows, float* sum) {
  WaitForPrevious();
  double total = 0;
  for (std::int64_t row = threadIdx.x; row < rows; row += kThreads) total += losses[row];
  total = Reduce<kThreads>(total, Add());
  if (threadIdx.x == 0) *sum = static_cast<float>(total);
}

template <class T, int kLanes>
__global__ void Backward(const float* gradient, const T* logits, const std::int64_t* targets, const float* normalizers,
                         std::int64_t rows, std::int64_t classes, bool vectors, T* result) {
  WaitForPrevious();
  const std::int64_t row = Row<kLanes>();
  if (row >= rows) return;
  const std::int64_t target = targets[row];
  const float normalizer = normalizers[row];
  const float incoming = *gradient;
  const auto of = [&](T logit, std::int64_t i, T* to) {
    if (target == kIgnoredTarget) return Narrow(0.0f, to);
    const float softmax = expf(Wide(logit) - normalizer) * incoming;
    Narrow(i == target ? softmax - incoming : softmax, to);
  };
  const T* const from = logits + row * classes;
  T* const to = result + row * classes;
  const int lane = threadIdx.x % kLanes;
  if (vectors) {
    for (std::int64_t i = lane; i < classes / kVector<T>; i += kLanes) {
      const Vector<T> in = reinterpret_cast<const Vector<T>*>(from)[i];
      Vector<T> out;
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) of(in.value[j], i * kVector<T> + j, &out.value[j]);
      reinterpret_cast<Vector<T>*>(to)[i] = out;
    }
  } else {
    for (std::int64_t i = lane; i < classes; i += kLanes) of(from[i], i, to + i);
  }
}

template <class T>
__device__ float ExpFor(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return expf(x);
  } else {
    return QuickExp(x);
  }
}

// A row's logits are read three times: but for the first time from shared memory, where kKeeps (a block's row, in
// vectors), or from the cache, see LaunchAndGradient.
template <class T, int kLanes, int kBlock, bool kKeeps>
__global__ void __launch_bounds__(kBlock)
    AndGradient(const float* incoming, const T* logits, const std::int64_t* targets, std::int64_t rows,
                std::int64_t classes, bool vectors, float* losses, T* gradient) {
  WaitForPrevious();
  extern __shared__ __align__(16) unsigned char kept[];
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (kBlock / kLanes) + threadIdx.x / kLanes;
  if (row >= rows) return;
  const std::int64_t target = targets[row];
  const bool is_class = target >= 0 && target < classes;
  const T* from = logits + row * classes;
  if constexpr (kKeeps) {
    // Each thread what it will read itself.
#pragma unroll 4
    for (std::int64_t i = threadIdx.x; i < classes / kVector<T>; i += kLanes) {
      reinterpret_cast<Vector<T>*>(kept)[i] = reinterpret_cast<const Vector<T>*>(from)[i];
    }
    from = reinterpret_cast<const T*>(kept);
  }
  float largest = -INFINITY;
  float total = 0;
  if (is_class) {
    ForLogits<kLanes>(from, classes, vectors, [&](float logit) { largest = fmaxf(largest, logit); });
    largest = Reduce<kLanes>(largest, Max());
    ForLogits<kLanes>(from, classes, vectors, [&](float logit) { total += ExpFor<T>(logit - largest); });
    total = Reduce<kLanes>(total, Add());
  }
  const int lane = threadIdx.x % kLanes;
  if (lane == 0) {
    // Before the logits are written over.
    const double log_total = log(static_cast<double>(total));
    const float loss =
        is_class ? static_cast<float>((static_cast<double>(largest) - Wide(from[target])) + log_total) : NAN;
    losses[row] = target == kIgnoredTarget ? 0.0f : loss;
  }
  if constexpr (kLanes > kWarp) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  const bool ignored = target == kIgnoredTarget;
  const float scale = ignored ? 0.0f : is_class ? *incoming / total : NAN;
  const auto of = [&](T logit) { return ignored ? 0.0f : ExpFor<T>(Wide(logit) - largest) * scale; };
  T* const to = gradient + row * classes;
  if (vectors) {
    const std::int64_t target_vector = is_class ? target / kVector<T> : -1;
    for (std::int64_t i = lane; i < classes / kVector<T>; i += kLanes) {
      const Vector<T> in = reinterpret_cast<const Vector<T>*>(from)[i];
      Vector<T> out;
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) Narrow(of(in.value[j]), &out.value[j]);
      if (i == target_vector) {
#pragma unroll
        for (int j = 0; j < kVector<T>; ++j) {
          if (j == target % kVector<T>) Narrow(of(in.value[j]) - *incoming, &out.value[j]);
        }
      }
      reinterpret_cast<Vector<T>*>(to)[i] = out;
    }
  } else {
    for (std::int64_t i = lane; i < classes; i += kLanes) {
      Narrow(of(from[i]) - (i == target ? *incoming : 0.0f), to + i);
    }
  }
}

unsigned Blocks(std::int64_t rows, int lanes) {
  const std::int64_t rows_of_block = kThreads / lanes;
  return static_cast<unsigned>((rows + rows_of_block - 1) / rows_of_block);
}

// Rows follow each other without a gap, so one that is no multiple of the vector is followed by unaligned ones.
template <class T>
bool ReadsVectors(const LogitsView& logits, const void* other) {
  return logits.classes % kVector<T> == 0 && IsAlignedFor<Vector<T>>(logits.data) && IsAlignedFor<Vector<T>>(other);
}

template <class T, int kLanes>
void LaunchForward(const LogitsView& logits, const std::int64_t* targets, float* normalizers, float* losses,
                   cudaStream_t stream) {
  LaunchKernel(Forward<T, kLanes>, Blocks(logits.rows, kLanes), kThreads, 0, stream, static_cast<const T*>(logits.data),
               targets, logits.rows, logits.classes, ReadsVectors<T>(logits, logits.data), normalizers, losses);
}

template <class T, int kLanes>
void LaunchBackward(const float* gradient, const LogitsView& logits, const std::int64_t* targets,
                    const float* normalizers, void* result, cudaStream_t stream) {
  LaunchKernel(Backward<T, kLanes>, Blocks(logits.rows, kLanes), kThreads, 0, stream, gradient,
               static_cast<const T*>(logits.data), targets, normalizers, logits.rows, logits.classes,
               ReadsVectors<T>(logits, result), static_cast<T*>(result));
}

// A wide row that is not kept (FP32, or no vectors) finds its later readings in the cache: so few rows at once that
// fill the GPU are there together.
template <class T, int kLanes>
void LaunchAndGradient(const float* incoming, const LogitsView& logits, const std::int64_t* targets, float* losses,
                       void* gradient, cudaStream_t stream) {
  constexpr int kWide = 512;
  // Two rows on each of an H100's processors, which have 227 KiB to share out: of GPT-2's vocabulary 98 KiB each.
  constexpr std::int64_t kMostKept = 112 << 10;
  const T* const from = static_cast<const T*>(logits.data);
  T* const to = static_cast<T*>(gradient);
  const bool vectors = ReadsVectors<T>(logits, gradient);
  const auto launch = [&]<int kShare, int kBlock, bool kKeeps>(unsigned blocks, std::int64_t kept) {
    const auto kernel = AndGradient<T, kShare, kBlock, kKeeps>;
    LaunchKernel(kernel, blocks, kBlock, static_cast<unsigned>(kept), stream, incoming, from, targets, logits.rows,
                 logits.classes, vectors, losses, to);
  };
  if constexpr (kLanes == kWarp) {
    launch.template operator()<kWarp, kThreads, false>(Blocks(logits.rows, kWarp), 0);
  } else if (logits.classes < kWide * 16) {
    launch.template operator()<kThreads, kThreads, false>(Blocks(logits.rows, kThreads), 0);
  } else {
    const std::int64_t bytes = logits.classes * static_cast<std::int64_t>(sizeof(T));
    const auto blocks = static_cast<unsigned>(logits.rows);
    if (vectors && bytes <= kMostKept && MayShare(AndGradient<T, kWide, kWide, true>, bytes)) {
      launch.template operator()<kWide, kWide, true>(blocks, bytes);
    } else {
      launch.template operator()<kWide, kWide, false>(blocks, 0);
    }
  }
}

// launch.operator()<T, kLanes>() for the logits' type and width.
template <class Launch>
void Choose(const LogitsView& logits, const Launch& launch) {
  const auto with_type = [&]<class T>() {
    if (logits.classes <= kWarpClasses) {
      launch.template operator()<T, kWarp>();
    } else {
      launch.template operator()<T, kThreads>();
    }
  };
  switch (logits.type) {
    case NumberType::kFloat:
      return with_type.template operator()<float>();
    case NumberType::kHalf:
      return with_type.template operator()<__half>();
    case NumberType::kBfloat16:
      return with_type.template operator()<__nv_bfloat16>();
  }
}

}  // namespace

void LaunchCrossEntropyForward(const LogitsView& logits, const std::int64_t* targets, float* normalizers, float* losses,
                               float* sum, cudaStream_t stream) {
  if (logits.rows > 0) {
    Choose(logits,
           [&]<class T, int kLanes>() { LaunchForward<T, kLanes>(logits, targets, normalizers, losses, stream); });
  }
  LaunchKernel(SumLosses, 1, kThreads, 0, stream, losses, logits.rows, sum);
}

void LaunchCrossEntropyBackward(const float* gradient, const LogitsView& logits, const std::int64_t* targets,
                                const float* normalizers, void* result, cudaStream_t stream) {
  if (logits.rows == 0) return;
  Choose(logits, [&]<class T, int kLanes>() {
    LaunchBackward<T, kLanes>(gradient, logits, targets, normalizers, result, stream);
  });
}

void LaunchCrossEntropyAndGradient(const float* incoming, const LogitsView& logits, const std::int64_t* targets,
                                   float* losses, float* sum, void* gradient, cudaStream_t stream) {
  if (logits.rows > 0) {
    Choose(logits, [&]<class T, int kLanes>() {
      LaunchAndGradient<T, kLanes>(incoming, logits, targets, losses, gradient, stream);
    });
  }
  LaunchKernel(SumLosses, 1, kThreads, 0, stream, losses, logits.rows, sum);
}

}  // namespace mantissa::trainer::cuda
