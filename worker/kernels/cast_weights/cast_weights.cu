// After an applied update: the low-precision weights from the FP32 values, each rounded once to nearest even. A skipped
// iteration writes nothing. The same bits as the CPU twin.
#include "worker/kernels/cast_weights/cast_weights_cuda.h"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {
namespace {

template <class T>
__global__ void Cast(const float* values, bool aligned, const Chunk* chunks, std::int64_t chunk_count,
                     const StoredWeight* places, T* weights, const StepState* state) {
  if (state->halt != 0 || state->found_inf != 0) return;
  const auto place_of = [&](const Chunk& chunk) { return places[chunk.parameter]; };
  const auto one = [&](const StoredWeight& place, std::int64_t i) {
    if (place.shift != StoredWeight::kNowhere) Narrow(values[i], weights + i + place.shift);
  };
  const auto four = [&](const StoredWeight& place, std::int64_t i) {
    if (place.shift == StoredWeight::kNowhere) return;
    if ((i + place.shift) % 4 != 0) {
      for (int j = 0; j < 4; ++j) one(place, i + j);
      return;
    }
    const float4 from = *reinterpret_cast<const float4*>(values + i);
    Pack<T, 4> to;
    Narrow(from.x, &to.value[0]);
    Narrow(from.y, &to.value[1]);
    Narrow(from.z, &to.value[2]);
    Narrow(from.w, &to.value[3]);
    *reinterpret_cast<Pack<T, 4>*>(weights + i + place.shift) = to;
  };
  ForChunkPieces(chunks, chunk_count, aligned, place_of, four, one);
}

template <class T>
void Launch(const float* values, const Chunk* chunks, std::int64_t chunk_count, const StoredWeight* places, T* weights,
            const StepState* state, cudaStream_t stream) {
  const bool aligned = IsAligned16(values) && IsAlignedFor<Pack<T, 4>>(weights);
  Cast<<<PieceBlocks(chunk_count), kPieceThreads, 0, stream>>>(values, aligned, chunks, chunk_count, places, weights,
                                                               state);
}

}  // namespace

void LaunchCastWeights(const float* values, const Chunk* chunks, std::int64_t chunk_count, const StoredWeight* places,
                       NumberType low, void* weights, const StepState* state, cudaStream_t stream) {
  if (low == NumberType::kHalf) {
    Launch(values, chunks, chunk_count, places, static_cast<__half*>(weights), state, stream);
  } else {
    Launch(values, chunks, chunk_count, places, static_cast<__nv_bfloat16*>(weights), state, stream);
  }
}

}  // namespace mantissa::trainer::cuda
