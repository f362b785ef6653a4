#include "worker/data/random_draw.h"

#include <cmath>
#include <cstddef>
#include <numbers>

#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer {

std::array<std::uint32_t, 4> DrawBits(std::uint64_t key, DrawPlace place) {
  const Philox4 counter = {{static_cast<std::uint32_t>(place.index), static_cast<std::uint32_t>(place.index >> 32),
                            static_cast<std::uint32_t>(place.stream), static_cast<std::uint32_t>(place.stream >> 32)}};
  const Philox4 drawn = Philox(counter, key);
  return {drawn.word[0], drawn.word[1], drawn.word[2], drawn.word[3]};
}

std::array<float, 4> DrawNormal(std::uint64_t key, DrawPlace place) {
  const std::array<std::uint32_t, 4> bits = DrawBits(key, place);
  std::array<float, 4> normal;
  for (std::size_t i = 0; i < normal.size(); i += 2) {
    const double radius = std::sqrt(-2.0 * std::log(UnitInterval(bits[i])));
    const double angle = 2.0 * std::numbers::pi * UnitInterval(bits[i + 1]);
    normal[i] = static_cast<float>(radius * std::cos(angle));
    normal[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return normal;
}

}  // namespace mantissa::trainer
