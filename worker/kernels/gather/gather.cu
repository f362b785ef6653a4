// A batch put together on the device: each block finds its sample by itself, then copies a piece of it. Copies only, so
// the bits are those of the CPU twin.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/gather/gather_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;
// Elements of a sample for one block: what it takes to find the sample should be little beside the copy.
constexpr std::int64_t kPiece = 4096;

// What one block copies.
struct Piece {
  std::int64_t row = 0;  // in the batch
  std::int64_t sample = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// All threads of the block must come by.
__device__ Piece PieceOfBlock(const WindowPlaces& places, std::int64_t width) {
  __shared__ std::int64_t sample;
  const std::int64_t pieces = (width + kPiece - 1) / kPiece;
  Piece piece;
  piece.row = blockIdx.x / pieces;
  if (threadIdx.x == 0) sample = SampleAt(*places.order, *places.window, places.begin + piece.row);
  __syncthreads();
  piece.sample = sample;
  piece.begin = blockIdx.x % pieces * kPiece;
  piece.end = piece.begin + kPiece < width ? piece.begin + kPiece : width;
  return piece;
}

unsigned BlocksFor(const WindowPlaces& places, std::int64_t width) {
  return static_cast<unsigned>(places.count * ((width + kPiece - 1) / kPiece));
}

__global__ void GatherFeatures(WindowPlaces places, FeatureRows from, float* input, std::int64_t* target) {
  WaitForPrevious();
  const Piece piece = PieceOfBlock(places, from.width);
  const float* const source = from.features + piece.sample * from.width;
  float* const to = input + piece.row * from.width;
  for (std::int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) to[i] = source[i];
  if (piece.begin == 0 && threadIdx.x == 0) target[piece.row] = from.labels[piece.sample];
}

template <class Token>
__global__ void GatherTokens(WindowPlaces places, TokenSequences from, std::int64_t* input, std::int64_t* target) {
  WaitForPrevious();
  const Piece piece = PieceOfBlock(places, from.context);
  const Token* const source = static_cast<const Token*>(from.tokens) + piece.sample * from.stride;
  const std::int64_t row = piece.row * from.context;
  for (std::int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) {
    input[row + i] = source[i];
    target[row + i] = source[i + 1];
  }
}

}  // namespace

void LaunchGatherFeatures(const WindowPlaces& places, const FeatureRows& from, float* input, std::int64_t* target,
                          cudaStream_t stream) {
  LaunchKernel(GatherFeatures, BlocksFor(places, from.width), kThreads, 0, stream, places, from, input, target);
}

void LaunchGatherTokens(const WindowPlaces& places, const TokenSequences& from, std::int64_t* input,
                        std::int64_t* target, cudaStream_t stream) {
  const unsigned blocks = BlocksFor(places, from.context);
  if (from.bytes) {
    LaunchKernel(GatherTokens<std::uint8_t>, blocks, kThreads, 0, stream, places, from, input, target);
  } else {
    LaunchKernel(GatherTokens<std::int32_t>, blocks, kThreads, 0, stream, places, from, input, target);
  }
}

}  // namespace mantissa::trainer::cuda
