// The low-precision weights from the FP32 values, each rounded once to nearest even. The same bits as the CPU twin.
#include "worker/kernels/cast_weights/cast_weights_cuda.h"
#include "worker/kernels/cast_weights/store_weight.cuh"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/cuda/launch.cuh"

namespace mantissa::trainer::cuda {
namespace {

template <class T>
__global__ void Cast(const float* values, bool aligned, const Chunk* chunks, std::int64_t chunk_count,
                     const StoredWeight* places, T* weights) {
  WaitForPrevious();
  const auto shift_of = [&](const Chunk& chunk) { return places[chunk.parameter].shift; };
  const auto one = [&](std::int64_t shift, std::int64_t i) { StoreOne(values[i], i, shift, weights); };
  const auto four = [&](std::int64_t shift, std::int64_t i) {
    StoreFour(*reinterpret_cast<const float4*>(values + i), i, shift, weights);
  };
  ForChunkPieces(chunks, chunk_count, aligned, shift_of, four, one);
}

}  // namespace

void LaunchCastWeights(const float* values, const Chunk* chunks, std::int64_t chunk_count, const LowWeights& low,
                       cudaStream_t stream) {
  WithLowType(low, [&]<class T>(T* weights) {
    const bool aligned = IsAligned16(values) && IsAlignedFor<Pack<T, 4>>(weights);
    LaunchKernel(Cast<T>, PieceBlocks(chunk_count), kPieceThreads, 0, stream, values, aligned, chunks, chunk_count,
                 low.places, weights);
  });
}

}  // namespace mantissa::trainer::cuda
