// Which elements a dropout keeps. Elements 4 g to 4 g + 3 share the Philox block with counter (g, site, micro-batch,
// iteration) and the seed as its key.
#pragma once

#include <cstdint>

#include <c10/util/Exception.h>

#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer::kernels {

struct DropoutDraw {
  std::uint64_t seed = 0;
  std::uint32_t iteration = 0;
  std::uint32_t micro_batch = 0;
  std::uint32_t site = 0;
  std::uint32_t threshold = 0;  // words below it drop
  float scale = 1;

  MANTISSA_HOST_DEVICE Philox4 Words(std::int64_t group) const {
    return Philox({{static_cast<std::uint32_t>(group), site, micro_batch, iteration}}, seed);
  }
  MANTISSA_HOST_DEVICE bool Keeps(std::uint32_t word) const { return word >= threshold; }
};

inline DropoutDraw MakeDropoutDraw(double probability, std::int64_t seed, std::int64_t iteration,
                                   std::int64_t micro_batch, std::int64_t site) {
  TORCH_CHECK(probability >= 0 && probability < 1, "dropout probability ", probability, " is not in [0, 1)");
  DropoutDraw draw;
  draw.seed = static_cast<std::uint64_t>(seed);
  draw.iteration = static_cast<std::uint32_t>(iteration);
  draw.micro_batch = static_cast<std::uint32_t>(micro_batch);
  draw.site = static_cast<std::uint32_t>(site);
  draw.threshold = static_cast<std::uint32_t>(probability * 4294967296.0);
  draw.scale = static_cast<float>(1.0 / (1.0 - probability));
  return draw;
}

}  // namespace mantissa::trainer::kernels
