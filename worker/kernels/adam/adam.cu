// AdamW and Adam over flat buffers: one pass that unscales, clips, moves the moments and the parameters, and writes
// what is kept of them in a low format. A skipped iteration writes nothing but the learning rate. Given the same
// constants, the same bits as the CPU twin: products and sums are not contracted, division and square root are rounded
// correctly. The constants come out of double `pow` and `cos`, whose last bits CPU and GPU may round differently.
#include "worker/kernels/adam/adam_cuda.h"
#include "worker/kernels/adam/adam_update.h"
#include "worker/kernels/cast_weights/store_weight.cuh"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/cuda/launch.cuh"

namespace mantissa::trainer::cuda {
namespace {

using kernels::AdamConstants;
using kernels::AdamConstantsOf;
using kernels::AdamUpdate;
using kernels::AdamUpdateOf;
using kernels::Bounded;

__device__ void Move(const AdamConstants& c, float gradient, float* parameter, float* exp_avg, float* exp_avg_sq) {
  const float p = *parameter;
  const float g = Bounded(gradient * c.factor + c.l2 * p);
  const float m = *exp_avg + c.one_minus_beta1 * (g - *exp_avg);
  const float v = c.beta2 * *exp_avg_sq + c.one_minus_beta2 * (g * g);
  *exp_avg = m;
  *exp_avg_sq = v;
  *parameter = c.decay * p - (c.step_size * m) / (sqrtf(v) * c.inverse_root + c.epsilon);
}

// Of a chunk.
struct Piece {
  AdamConstants constants;
  std::int64_t shift = StoredWeight::kNowhere;
};

// `places` and `weights` may be null.
template <class T>
__global__ void Update(AdamBuffers buffers, bool aligned, const Chunk* chunks, std::int64_t chunk_count,
                       const UpdateRule* rules, const OptimizerSettings* settings, StepState* state,
                       const StoredWeight* places, T* weights) {
  WaitForPrevious();
  if (state->halt != 0) return;
  __shared__ SharedStruct<AdamUpdate> shared;
  AdamUpdate& update = shared.get();
  if (threadIdx.x == 0) {
    const double learning_rate = LearningRateAt(settings->schedule, state->step);
    if (blockIdx.x == 0) state->learning_rate = learning_rate;
    update = AdamUpdateOf(*settings, *state, learning_rate);
  }
  if (state->found_inf != 0) return;
  __syncthreads();
  const auto piece_of = [&](const Chunk& chunk) {
    return Piece{AdamConstantsOf(update, rules[chunk.parameter]),
                 weights == nullptr ? StoredWeight::kNowhere : places[chunk.parameter].shift};
  };
  const auto four = [&](const Piece& piece, std::int64_t i) {
    const AdamConstants& constants = piece.constants;
    float4 p = *reinterpret_cast<float4*>(buffers.parameters + i);
    float4 m = *reinterpret_cast<float4*>(buffers.exp_avg + i);
    float4 v = *reinterpret_cast<float4*>(buffers.exp_avg_sq + i);
    const float4 g = *reinterpret_cast<const float4*>(buffers.gradients + i);
    Move(constants, g.x, &p.x, &m.x, &v.x);
    Move(constants, g.y, &p.y, &m.y, &v.y);
    Move(constants, g.z, &p.z, &m.z, &v.z);
    Move(constants, g.w, &p.w, &m.w, &v.w);
    *reinterpret_cast<float4*>(buffers.parameters + i) = p;
    *reinterpret_cast<float4*>(buffers.exp_avg + i) = m;
    *reinterpret_cast<float4*>(buffers.exp_avg_sq + i) = v;
    StoreFour(p, i, piece.shift, weights);
  };
  const auto one = [&](const Piece& piece, std::int64_t i) {
    Move(piece.constants, buffers.gradients[i], buffers.parameters + i, buffers.exp_avg + i, buffers.exp_avg_sq + i);
    StoreOne(buffers.parameters[i], i, piece.shift, weights);
  };
  ForChunkPieces(chunks, chunk_count, aligned, piece_of, four, one);
}

}  // namespace

void LaunchAdam(const AdamBuffers& buffers, const Chunk* chunks, std::int64_t chunk_count, const UpdateRule* rules,
                const OptimizerSettings* settings, StepState* state, const LowWeights& low, cudaStream_t stream) {
  WithLowType(low, [&]<class T>(T* weights) {
    const bool aligned = IsAligned16(buffers.parameters) && IsAligned16(buffers.gradients) &&
                         IsAligned16(buffers.exp_avg) && IsAligned16(buffers.exp_avg_sq) &&
                         IsAlignedFor<Pack<T, 4>>(weights);
    LaunchKernel(Update<T>, PieceBlocks(chunk_count), kPieceThreads, 0, stream, buffers, aligned, chunks, chunk_count,
                 rules, settings, state, low.places, weights);
  });
}

}  // namespace mantissa::trainer::cuda
