// The CUDA twins of gather_features and gather_tokens. Everything is on the stream's device.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/data/sample_order.h"

namespace mantissa::trainer::cuda {

// `count` samples from `begin` on in the window's order.
struct WindowPlaces {
  const SampleOrder* order = nullptr;
  const std::int64_t* window = nullptr;
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

struct FeatureRows {
  const float* features = nullptr;  // (N, width)
  const std::int64_t* labels = nullptr;
  std::int64_t width = 0;
};

void LaunchGatherFeatures(const WindowPlaces& places, const FeatureRows& from, float* input, std::int64_t* target,
                          cudaStream_t stream);

// Sequence i begins at i x stride and has context + 1 tokens.
struct TokenSequences {
  const void* tokens = nullptr;
  bool bytes = false;  // else 32-bit numbers
  std::int64_t stride = 0;
  std::int64_t context = 0;
};

void LaunchGatherTokens(const WindowPlaces& places, const TokenSequences& from, std::int64_t* input,
                        std::int64_t* target, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
