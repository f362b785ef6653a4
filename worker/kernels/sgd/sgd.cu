// SGD with or without momentum over flat buffers, and what is kept of the parameters in a low format. A skipped
// iteration writes nothing but the learning rate. The same bits as the CPU twin: products and sums are not contracted.
#include "worker/kernels/cast_weights/store_weight.cuh"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/sgd/sgd_cuda.h"
#include "worker/kernels/sgd/sgd_update.h"

namespace mantissa::trainer::cuda {
namespace {

using kernels::SgdConstants;
using kernels::SgdConstantsOf;

__device__ void Move(const SgdConstants& c, float gradient, float* parameter) {
  const float g = gradient * c.factor + c.l2 * *parameter;
  *parameter -= c.learning_rate * g;
}

__device__ void Move(const SgdConstants& c, bool nesterov, float gradient, float* parameter, float* momentum) {
  const float g = gradient * c.factor + c.l2 * *parameter;
  const float m = c.momentum * *momentum + g;
  *momentum = m;
  *parameter -= c.learning_rate * (nesterov ? g + c.momentum * m : m);
}

// Returns the parameters as they are then.
__device__ float4 MoveFour(const SgdConstants& c, bool nesterov, const SgdBuffers& buffers, std::int64_t i) {
  float4 p = *reinterpret_cast<float4*>(buffers.parameters + i);
  const float4 g = *reinterpret_cast<const float4*>(buffers.gradients + i);
  if (buffers.momentum == nullptr) {
    Move(c, g.x, &p.x);
    Move(c, g.y, &p.y);
    Move(c, g.z, &p.z);
    Move(c, g.w, &p.w);
  } else {
    float4 m = *reinterpret_cast<float4*>(buffers.momentum + i);
    Move(c, nesterov, g.x, &p.x, &m.x);
    Move(c, nesterov, g.y, &p.y, &m.y);
    Move(c, nesterov, g.z, &p.z, &m.z);
    Move(c, nesterov, g.w, &p.w, &m.w);
    *reinterpret_cast<float4*>(buffers.momentum + i) = m;
  }
  *reinterpret_cast<float4*>(buffers.parameters + i) = p;
  return p;
}

// Of a chunk.
struct Piece {
  SgdConstants constants;
  std::int64_t shift = StoredWeight::kNowhere;
};

// `places` and `weights` may be null.
template <class T>
__global__ void Update(SgdBuffers buffers, bool aligned, const Chunk* chunks, std::int64_t chunk_count,
                       const UpdateRule* rules, const OptimizerSettings* settings, StepState* state,
                       const StoredWeight* places, T* weights) {
  WaitForPrevious();
  if (state->halt != 0) return;
  const double learning_rate = LearningRateAt(settings->schedule, state->step);
  if (blockIdx.x == 0 && threadIdx.x == 0) state->learning_rate = learning_rate;
  if (state->found_inf != 0) return;
  const bool nesterov = settings->nesterov != 0;
  const auto piece_of = [&](const Chunk& chunk) {
    return Piece{SgdConstantsOf(*settings, *state, learning_rate, rules[chunk.parameter]),
                 weights == nullptr ? StoredWeight::kNowhere : places[chunk.parameter].shift};
  };
  const auto four = [&](const Piece& piece, std::int64_t i) {
    StoreFour(MoveFour(piece.constants, nesterov, buffers, i), i, piece.shift, weights);
  };
  const auto one = [&](const Piece& piece, std::int64_t i) {
    if (buffers.momentum == nullptr) {
      Move(piece.constants, buffers.gradients[i], buffers.parameters + i);
    } else {
      Move(piece.constants, nesterov, buffers.gradients[i], buffers.parameters + i, buffers.momentum + i);
    }
    StoreOne(buffers.parameters[i], i, piece.shift, weights);
  };
  ForChunkPieces(chunks, chunk_count, aligned, piece_of, four, one);
}

}  // namespace

void LaunchSgd(const SgdBuffers& buffers, const Chunk* chunks, std::int64_t chunk_count, const UpdateRule* rules,
               const OptimizerSettings* settings, StepState* state, const LowWeights& low, cudaStream_t stream) {
  WithLowType(low, [&]<class T>(T* weights) {
    // Null is aligned.
    const bool aligned = IsAligned16(buffers.parameters) && IsAligned16(buffers.gradients) &&
                         IsAligned16(buffers.momentum) && IsAlignedFor<Pack<T, 4>>(weights);
    LaunchKernel(Update<T>, PieceBlocks(chunk_count), kPieceThreads, 0, stream, buffers, aligned, chunks, chunk_count,
                 rules, settings, state, low.places, weights);
  });
}

}  // namespace mantissa::trainer::cuda
