// SGD with or without momentum over flat buffers. A skipped iteration writes nothing but the learning rate. The same
// bits as the CPU twin: products and sums are not contracted.
#include "worker/kernels/cuda/chunk_pieces.cuh"
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

__device__ void MoveFour(const SgdConstants& c, bool nesterov, const SgdBuffers& buffers, std::int64_t i) {
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
}

__global__ void Update(SgdBuffers buffers, bool aligned, const Chunk* chunks, std::int64_t chunk_count,
                       const UpdateRule* rules, const OptimizerSettings* settings, StepState* state) {
  if (state->halt != 0) return;
  const double learning_rate = LearningRateAt(settings->schedule, state->step);
  if (blockIdx.x == 0 && threadIdx.x == 0) state->learning_rate = learning_rate;
  if (state->found_inf != 0) return;
  const bool nesterov = settings->nesterov != 0;
  const auto constants_of = [&](const Chunk& chunk) {
    return SgdConstantsOf(*settings, *state, learning_rate, rules[chunk.parameter]);
  };
  const auto four = [&](const SgdConstants& constants, std::int64_t i) { MoveFour(constants, nesterov, buffers, i); };
  const auto one = [&](const SgdConstants& constants, std::int64_t i) {
    if (buffers.momentum == nullptr) {
      Move(constants, buffers.gradients[i], buffers.parameters + i);
    } else {
      Move(constants, nesterov, buffers.gradients[i], buffers.parameters + i, buffers.momentum + i);
    }
  };
  ForChunkPieces(chunks, chunk_count, aligned, constants_of, four, one);
}

}  // namespace

void LaunchSgd(const SgdBuffers& buffers, const Chunk* chunks, std::int64_t chunk_count, const UpdateRule* rules,
               const OptimizerSettings* settings, StepState* state, cudaStream_t stream) {
  // Null is aligned.
  const bool aligned =
      IsAligned16(buffers.parameters) && IsAligned16(buffers.gradients) && IsAligned16(buffers.momentum);
  Update<<<PieceBlocks(chunk_count), kPieceThreads, 0, stream>>>(buffers, aligned, chunks, chunk_count, rules, settings,
                                                                 state);
}

}  // namespace mantissa::trainer::cuda
