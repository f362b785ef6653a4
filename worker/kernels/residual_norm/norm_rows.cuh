// How residual_norm's kernels share rows out and read them.
#pragma once

#include <cstdint>
#include <cuda_pipeline_primitives.h>

#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/residual_norm/residual_norm_cuda.h"

namespace mantissa::trainer::cuda {

inline constexpr int kNormThreads = 128;  // of a block

// How a row is shared out: by kLanes threads, each with kTurns x 4 of its numbers; by four at once where they are
// aligned.
template <int kLanes_, int kTurns_, bool kFours_>
struct RowShare {
  static constexpr int kLanes = kLanes_;
  static constexpr int kTurns = kTurns_;
  static constexpr bool kFours = kFours_;
  static constexpr int kRowsOfBlock = kNormThreads / kLanes;
  // How many of backward's blocks a processor has at a time: a thread's sums over rows take so many registers.
  static constexpr int kBlocksOfProcessor = kTurns > 6 ? 2 : 3;

  static __device__ int Lane() { return threadIdx.x % kLanes; }
  // The first of the calling thread's four in this turn.
  static __device__ std::int64_t Place(int turn) { return (static_cast<std::int64_t>(turn) * kLanes + Lane()) * 4; }
  static __device__ std::int64_t FirstRow() {
    return static_cast<std::int64_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kLanes;
  }

  // Zeros beyond the row's end.
  template <class T>
  static __device__ void Load(const T* row, std::int64_t at, std::int64_t width, float* to) {
    if constexpr (kFours) {
      Pack<T, 4> four = {};
      if (at < width) four = *reinterpret_cast<const Pack<T, 4>*>(row + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = Wide(four.value[i]);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = at + i < width ? Wide(row[at + i]) : 0.0f;
    }
  }

  template <class T>
  static __device__ void Store(const float* from, std::int64_t at, std::int64_t width, T* row) {
    if constexpr (kFours) {
      Pack<T, 4> four;
#pragma unroll
      for (int i = 0; i < 4; ++i) Narrow(from[i], &four.value[i]);
      if (at < width) *reinterpret_cast<Pack<T, 4>*>(row + at) = four;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (at + i < width) Narrow(from[i], row + at + i);
      }
    }
  }
};

// What backward reads of its rows. Those that share a row copy their next one into shared memory while they compute
// with this one, in two places that take turns: each thread what it will read itself, so that nobody waits for another.
template <class T, class Share, bool kCopies>
class BackwardRows {
 public:
  __device__ BackwardRows(const ResidualNormBackward& work, unsigned char* shared)
      : work_(work),
        place_bytes_(BytesOfPlace(work)),
        place_(shared + threadIdx.x / Share::kLanes * 2 * place_bytes_) {}

  // Of the copy of a row.
  static __host__ __device__ std::int64_t BytesOfPlace(const ResidualNormBackward& work) {
    if (!kCopies) return 0;
    std::int64_t bytes = sizeof(float);
    if (work.sum_gradient != nullptr) bytes += sizeof(float);
    if (work.norm_gradient != nullptr) bytes += sizeof(float);
    if (work.low_gradient != nullptr) bytes += sizeof(T);
    return (bytes * work.of.width + 15) / 16 * 16;
  }

  // Begins to copy a row, if there is such a one.
  __device__ void Fetch(std::int64_t row) {
    if constexpr (kCopies) {
      next_ = 1 - next_;
      if (row < work_.of.rows) {
        unsigned char* to = place_ + next_ * place_bytes_;
        Copy(work_.sum, row, to);
        Copy(work_.sum_gradient, row, to);
        Copy(work_.norm_gradient, NormRow(row), to);
        Copy(static_cast<const T*>(work_.low_gradient), row, to);
      }
      __pipeline_commit();
    }
  }

  // The row of the last Fetch but one can be read.
  __device__ void Wait() {
    if constexpr (kCopies) __pipeline_wait_prior(1);
  }

  // sum, the gradient of the norm and that of what was added up, each where there is one.
  __device__ void LoadSum(std::int64_t row, int turn, float* to) const { Load(work_.sum, row, 0, turn, to); }
  __device__ void LoadSumGradient(std::int64_t row, int turn, float* to) const {
    if (work_.sum_gradient != nullptr) Load(work_.sum_gradient, row, 1, turn, to);
  }
  __device__ void LoadNormGradient(std::int64_t row, int turn, float* to) const {
    const int before = 1 + (work_.sum_gradient != nullptr);
    if (work_.norm_gradient != nullptr) Load(work_.norm_gradient, NormRow(row), before, turn, to);
    if (work_.low_gradient == nullptr) return;
    float low[4];
    Load(static_cast<const T*>(work_.low_gradient), row, before + (work_.norm_gradient != nullptr), turn, low);
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] += low[i];
  }

 private:
  __device__ std::int64_t NormRow(std::int64_t row) const { return row / work_.norm_gradient_repeats; }

  template <class Number>
  __device__ void Copy(const Number* matrix, std::int64_t row, unsigned char*& to) const {
    if (matrix == nullptr) return;
    const Number* const from = matrix + row * work_.of.width;
#pragma unroll
    for (int turn = 0; turn < Share::kTurns; ++turn) {
      const std::int64_t at = Share::Place(turn);
      if (at < work_.of.width) {
        __pipeline_memcpy_async(reinterpret_cast<Number*>(to) + at, from + at, sizeof(Pack<Number, 4>));
      }
    }
    to += work_.of.width * sizeof(Number);
  }

  // `floats`: how many rows of FP32 numbers lie before it in the copy.
  template <class Number>
  __device__ void Load(const Number* matrix, std::int64_t row, int floats, int turn, float* to) const {
    const std::int64_t width = work_.of.width;
    if constexpr (kCopies) {
      const unsigned char* const copy = place_ + (1 - next_) * place_bytes_ + floats * width * sizeof(float);
      Share::Load(reinterpret_cast<const Number*>(copy), Share::Place(turn), width, to);
    } else {
      Share::Load(matrix + row * width, Share::Place(turn), width, to);
    }
  }

  const ResidualNormBackward& work_;
  std::int64_t place_bytes_;
  unsigned char* place_;  // the first of two
  int next_ = 1;          // the place of the last Fetch
};

}  // namespace mantissa::trainer::cuda
