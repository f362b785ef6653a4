// residual_norm, see residual_norm.cc: a warp for each row of up to 1024 numbers, a block for a longer one; the row
// stays in registers, four neighbouring numbers a thread and turn. Statistics in FP32. What is summed over rows is
// summed by each block over its own first, always in the same order.
#include <cuda_pipeline_primitives.h>

#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/column_sums.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/cuda/shared_memory.cuh"
#include "worker/kernels/residual_norm/residual_norm_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

using kernels::DropoutDraw;

constexpr int kThreads = 128;
// Of an H100.
constexpr std::int64_t kProcessors = 132;

// How many of backward's blocks a processor has at a time: a thread's sums over rows take so many registers.
constexpr int BlocksOfProcessor(int turns) { return turns > 6 ? 2 : 3; }

// How a row is shared out: by kLanes threads, each with kTurns x 4 of its numbers; by four at once where they are
// aligned.
template <int kLanes_, int kTurns_, bool kFours_>
struct Share {
  static constexpr int kLanes = kLanes_;
  static constexpr int kTurns = kTurns_;
  static constexpr bool kFours = kFours_;
  static constexpr int kRowsOfBlock = kThreads / kLanes;
  static constexpr int kBlocksOfProcessor = BlocksOfProcessor(kTurns);

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

__device__ DropoutDraw DrawOf(const NormRows& of) {
  DropoutDraw draw = of.draw;
  if (of.window != nullptr) draw.iteration = static_cast<std::uint32_t>(*of.window);
  return draw;
}

// Drops of four numbers of T, `at` counting from the first row's begin, and rounds those that are kept.
template <class T>
__device__ void DropFour(const DropoutDraw& draw, std::int64_t at, float* values) {
  if (draw.threshold == 0) return;
  Philox4 words = draw.Words(at / 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::int64_t word = (at + i) % 4;
    if (i > 0 && word == 0) words = draw.Words((at + i) / 4);
    T rounded;
    Narrow(draw.Keeps(words.word[word]) ? values[i] * draw.scale : 0.0f, &rounded);
    values[i] = Wide(rounded);
  }
}

template <class T, class Share>
__global__ void __launch_bounds__(kThreads) Forward(ResidualNormForward work) {
  const std::int64_t width = work.of.width;
  const std::int64_t row = Share::FirstRow();
  if (row >= work.of.rows) return;  // a whole warp; a block that shares a row always has one
  const std::int64_t begin = row * width;
  const DropoutDraw draw = DrawOf(work.of);
  float sums[Share::kTurns][4];
  float total = 0;
#pragma unroll
  for (int turn = 0; turn < Share::kTurns; ++turn) {
    const std::int64_t at = Share::Place(turn);
    Share::Load(work.x + begin, at, width, sums[turn]);
    if (work.branch != nullptr) {
      float branch[4];
      Share::Load(static_cast<const T*>(work.branch) + begin, at, width, branch);
      DropFour<T>(draw, begin + at, branch);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[turn][i] += at + i < width ? branch[i] : 0.0f;
    }
    if (work.sum != nullptr) Share::Store(sums[turn], at, width, work.sum + begin);
#pragma unroll
    for (int i = 0; i < 4; ++i) total += sums[turn][i];
  }
  const float mean = Reduce<Share::kLanes>(total, Add()) / static_cast<float>(width);
  float squares = 0;
#pragma unroll
  for (int turn = 0; turn < Share::kTurns; ++turn) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float apart = sums[turn][i] - mean;
      if (Share::Place(turn) + i < width) squares += apart * apart;
    }
  }
  const float variance = Reduce<Share::kLanes>(squares, Add()) / static_cast<float>(width);
  const float inverse_deviation = rsqrtf(variance + work.epsilon);
#pragma unroll
  for (int turn = 0; turn < Share::kTurns; ++turn) {
    const std::int64_t at = Share::Place(turn);
    float weight[4], bias[4], norm[4];
    Share::Load(work.of.weight, at, width, weight);
    Share::Load(work.bias, at, width, bias);
#pragma unroll
    for (int i = 0; i < 4; ++i) norm[i] = (sums[turn][i] - mean) * inverse_deviation * weight[i] + bias[i];
    if (work.norm != nullptr) Share::Store(norm, at, width, work.norm + begin);
    if (work.low != nullptr) Share::Store(norm, at, width, static_cast<T*>(work.low) + begin);
  }
  if (Share::Lane() == 0) {
    work.means[row] = mean;
    work.inverse_deviations[row] = inverse_deviation;
  }
}

// sums[turn][i] of every row's threads of a block, added up row by row, into to (width).
template <class Share>
__device__ void SumRowsOfBlock(const float (&sums)[Share::kTurns][4], std::int64_t width, float* shared, float* to) {
  const int own_row = threadIdx.x / Share::kLanes;
  for (int row = 0; row < Share::kRowsOfBlock; ++row) {
    if (row == own_row) {
#pragma unroll
      for (int turn = 0; turn < Share::kTurns; ++turn) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const std::int64_t at = Share::Place(turn) + i;
          if (at < width) shared[at] = row == 0 ? sums[turn][i] : shared[at] + sums[turn][i];
        }
      }
    }
    __syncthreads();
  }
  for (std::int64_t at = threadIdx.x; at < width; at += kThreads) to[at] = shared[at];
  __syncthreads();  // before the next sums
}

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

template <class T, class Share, bool kCopies>
__global__ void __launch_bounds__(kThreads, Share::kBlocksOfProcessor) Backward(ResidualNormBackward work) {
  extern __shared__ __align__(16) unsigned char shared[];
  const std::int64_t width = work.of.width;
  const DropoutDraw draw = DrawOf(work.of);
  BackwardRows<T, Share, kCopies> rows(work, shared);
  float of_weight[Share::kTurns][4] = {}, of_bias[Share::kTurns][4] = {};
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * Share::kRowsOfBlock;
  rows.Fetch(Share::FirstRow());
  for (std::int64_t row = Share::FirstRow(); row < work.of.rows; row += stride) {
    const std::int64_t begin = row * width;
    const float mean = work.means[row];
    const float inverse_deviation = work.inverse_deviations[row];
    float normal[Share::kTurns][4], scaled[Share::kTurns][4];  // without weight and bias; the gradient x weight
    float mean_scaled = 0, mean_product = 0;
    rows.Fetch(row + stride);
    rows.Wait();
#pragma unroll
    for (int turn = 0; turn < Share::kTurns; ++turn) {
      const std::int64_t at = Share::Place(turn);
      float gradient[4] = {}, weight[4];
      rows.LoadSum(row, turn, normal[turn]);
      rows.LoadNormGradient(row, turn, gradient);
      Share::Load(work.of.weight, at, width, weight);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        normal[turn][i] = at + i < width ? (normal[turn][i] - mean) * inverse_deviation : 0.0f;
        of_weight[turn][i] += gradient[i] * normal[turn][i];
        of_bias[turn][i] += gradient[i];
        scaled[turn][i] = gradient[i] * weight[i];
        mean_scaled += scaled[turn][i];
        mean_product += scaled[turn][i] * normal[turn][i];
      }
    }
    mean_scaled = Reduce<Share::kLanes>(mean_scaled, Add()) / static_cast<float>(width);
    mean_product = Reduce<Share::kLanes>(mean_product, Add()) / static_cast<float>(width);
#pragma unroll
    for (int turn = 0; turn < Share::kTurns; ++turn) {
      const std::int64_t at = Share::Place(turn);
      float result[4] = {};
      rows.LoadSumGradient(row, turn, result);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        result[i] += inverse_deviation * (scaled[turn][i] - mean_scaled - normal[turn][i] * mean_product);
      }
      if (work.x_gradient != nullptr) Share::Store(result, at, width, work.x_gradient + begin);
      if (work.branch_gradient != nullptr) {
        if (draw.threshold != 0) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            T rounded;
            Narrow(result[i], &rounded);
            result[i] = Wide(rounded);
          }
          DropFour<T>(draw, begin + at, result);
        }
        Share::Store(result, at, width, static_cast<T*>(work.branch_gradient) + begin);
      }
    }
  }
  __syncthreads();  // the copies are read
  float* const sums = reinterpret_cast<float*>(shared);
  float* const partial = work.partials + static_cast<std::int64_t>(blockIdx.x) * 2 * width;
  SumRowsOfBlock<Share>(of_weight, width, sums, partial);
  SumRowsOfBlock<Share>(of_bias, width, sums, partial + width);
}

template <class T>
bool IsInFours(const void* pointer) {
  return pointer == nullptr || IsAlignedFor<Pack<T, 4>>(pointer);
}

// launch.operator()<T, Share>(rows of a block).
template <class T, class Launch>
void ChooseShare(std::int64_t width, bool fours, const Launch& launch) {
  if (!fours) return launch.template operator()<T, Share<kThreads, 8, false>>();
  if (width <= 512) return launch.template operator()<T, Share<kWarp, 4, true>>();
  if (width <= 768) return launch.template operator()<T, Share<kWarp, 6, true>>();
  if (width <= 1024) return launch.template operator()<T, Share<kWarp, 8, true>>();
  if (width <= 2048) return launch.template operator()<T, Share<kThreads, 4, true>>();
  return launch.template operator()<T, Share<kThreads, 8, true>>();
}

template <class Launch>
void ChooseType(NumberType type, const Launch& launch) {
  switch (type) {
    case NumberType::kFloat:
      return launch.template operator()<float>();
    case NumberType::kHalf:
      return launch.template operator()<__half>();
    case NumberType::kBfloat16:
      return launch.template operator()<__nv_bfloat16>();
  }
}

}  // namespace

std::int64_t ResidualNormParts(std::int64_t rows, std::int64_t width) {
  std::int64_t parts = 0;
  ChooseShare<float>(width, /*fours=*/true, [&]<class, class Part>() {
    const std::int64_t blocks = (rows + Part::kRowsOfBlock - 1) / Part::kRowsOfBlock;
    const std::int64_t most = kProcessors * Part::kBlocksOfProcessor;
    parts = blocks < 1 ? 1 : blocks < most ? blocks : most;
  });
  return parts;
}

void LaunchResidualNormForward(const ResidualNormForward& work, cudaStream_t stream) {
  if (work.of.rows == 0) return;
  ChooseType(work.of.type, [&]<class T>() {
    bool fours = work.of.width % 4 == 0 && IsInFours<T>(work.branch) && IsInFours<T>(work.low);
    for (const float* pointer : {work.x, work.of.weight, work.bias, static_cast<const float*>(work.sum),
                                 static_cast<const float*>(work.norm)}) {
      fours = fours && IsInFours<float>(pointer);
    }
    ChooseShare<T>(work.of.width, fours, [&]<class Number, class Part>() {
      const auto blocks = static_cast<unsigned>((work.of.rows + Part::kRowsOfBlock - 1) / Part::kRowsOfBlock);
      Forward<Number, Part><<<blocks, kThreads, 0, stream>>>(work);
    });
  });
}

void LaunchResidualNormBackward(const ResidualNormBackward& work, cudaStream_t stream) {
  if (work.of.rows == 0) return;
  const auto parts = static_cast<unsigned>(ResidualNormParts(work.of.rows, work.of.width));
  ChooseType(work.of.type, [&]<class T>() {
    bool fours = work.of.width % 4 == 0 && IsInFours<T>(work.low_gradient) && IsInFours<T>(work.branch_gradient);
    for (const float* pointer : {work.sum_gradient, work.norm_gradient, work.sum, work.of.weight,
                                 static_cast<const float*>(work.x_gradient)}) {
      fours = fours && IsInFours<float>(pointer);
    }
    ChooseShare<T>(work.of.width, fours, [&]<class Number, class Part>() {
      const std::int64_t sums = work.of.width * static_cast<std::int64_t>(sizeof(float));
      if constexpr (Part::kFours) {
        const std::int64_t copies = Part::kRowsOfBlock * 2 * BackwardRows<Number, Part, true>::BytesOfPlace(work);
        const std::int64_t shared = copies > sums ? copies : sums;
        if (MayShare(Backward<Number, Part, true>, shared)) {
          Backward<Number, Part, true><<<parts, kThreads, static_cast<unsigned>(shared), stream>>>(work);
          return;
        }
      }
      Backward<Number, Part, false><<<parts, kThreads, static_cast<unsigned>(sums), stream>>>(work);
    });
  });
  LaunchAddColumnSums<float>(work.partials, parts, work.of.width, 2, work.weight_gradient, work.bias_gradient, stream);
}

}  // namespace mantissa::trainer::cuda
