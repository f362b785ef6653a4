// residual_norm, see residual_norm.cc: a warp for each row of up to 1024 numbers, a block for a longer one; the row
// stays in registers, four neighbouring numbers a thread and turn. Statistics in FP32. What is summed over rows is
// summed by each block over its own first, always in the same order.
#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/column_sums.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/cuda/shared_memory.cuh"
#include "worker/kernels/residual_norm/norm_rows.cuh"
#include "worker/kernels/residual_norm/residual_norm_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

using kernels::DropoutDraw;

// Of an H100.
constexpr std::int64_t kProcessors = 132;

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
__global__ void __launch_bounds__(kNormThreads) Forward(ResidualNormForward work) {
  WaitForPrevious();
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
  for (std::int64_t at = threadIdx.x; at < width; at += kNormThreads) to[at] = shared[at];
  __syncthreads();  // before the next sums
}

template <class T, class Share, bool kCopies>
__global__ void __launch_bounds__(kNormThreads, Share::kBlocksOfProcessor) Backward(ResidualNormBackward work) {
  WaitForPrevious();
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

// launch.operator()<T, Share>().
template <class T, class Launch>
void ChooseShare(std::int64_t width, bool fours, const Launch& launch) {
  if (!fours) return launch.template operator()<T, RowShare<kNormThreads, 8, false>>();
  if (width <= 512) return launch.template operator()<T, RowShare<kWarp, 4, true>>();
  if (width <= 768) return launch.template operator()<T, RowShare<kWarp, 6, true>>();
  if (width <= 1024) return launch.template operator()<T, RowShare<kWarp, 8, true>>();
  if (width <= 2048) return launch.template operator()<T, RowShare<kNormThreads, 4, true>>();
  return launch.template operator()<T, RowShare<kNormThreads, 8, true>>();
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
      LaunchKernel(Forward<Number, Part>, blocks, kNormThreads, 0, stream, work);
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
          LaunchKernel(Backward<Number, Part, true>, parts, kNormThreads, static_cast<unsigned>(shared), stream, work);
          return;
        }
      }
      LaunchKernel(Backward<Number, Part, false>, parts, kNormThreads, static_cast<unsigned>(sums), stream, work);
    });
  });
  LaunchAddColumnSums<float>(work.partials, parts, work.of.width, 2, work.weight_gradient, work.bias_gradient, stream);
}

}  // namespace mantissa::trainer::cuda
