// How the elementwise ops over the flat buffers share their work out: pieces of chunks over a bounded number of blocks.
#pragma once

#include <cstdint>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::cuda {

inline constexpr int kPieceThreads = 256;
// A chunk is too much for one block where there are few chunks, as in small models.
inline constexpr std::int64_t kPiecesOfChunk = 8;
// Some 8 on each of an H100's 132 processors. What every block computes first, such as an update's constants, is
// computed that often and not once for each piece.
inline constexpr std::int64_t kMaxPieceBlocks = 1024;

// At least one: the block that writes the learning rate.
inline unsigned PieceBlocks(std::int64_t chunk_count) {
  const std::int64_t pieces = chunk_count * kPiecesOfChunk;
  return static_cast<unsigned>(pieces < 1 ? 1 : pieces < kMaxPieceBlocks ? pieces : kMaxPieceBlocks);
}

inline bool IsAligned16(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

// four(constants, i) for elements i to i + 3, where they can be read as one float4, and one(constants, i) for the
// others; i counts from the buffers' begin, and the constants are constants_of(chunk). `aligned`: the buffers begin at
// 16-byte boundaries.
template <class ConstantsOf, class Four, class One>
__device__ void ForChunkPieces(const Chunk* chunks, std::int64_t chunk_count, bool aligned,
                               const ConstantsOf& constants_of, const Four& four, const One& one) {
  for (std::int64_t item = blockIdx.x; item < chunk_count * kPiecesOfChunk; item += gridDim.x) {
    const Chunk chunk = chunks[item / kPiecesOfChunk];
    const auto constants = constants_of(chunk);
    const std::int64_t thread = item % kPiecesOfChunk * kPieceThreads + threadIdx.x;
    constexpr std::int64_t kStride = kPiecesOfChunk * kPieceThreads;
    const std::int64_t fours = aligned && chunk.begin % 4 == 0 ? chunk.size / 4 : 0;
    for (std::int64_t i = thread; i < fours; i += kStride) four(constants, chunk.begin + i * 4);
    for (std::int64_t i = fours * 4 + thread; i < chunk.size; i += kStride) one(constants, chunk.begin + i);
  }
}

// Shared memory for a struct whose members have initialisers: CUDA does not let a __shared__ variable have them.
template <class T>
struct SharedStruct {
  alignas(T) unsigned char bytes[sizeof(T)];
  __device__ T& get() { return *reinterpret_cast<T*>(bytes); }
};

}  // namespace mantissa::trainer::cuda
