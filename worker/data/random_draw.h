// Random numbers as a function of a key and a place: any of them can be had by itself, in any order, on any machine.
#pragma once

#include <array>
#include <cstdint>

namespace mantissa::trainer {

struct DrawPlace {
  std::uint64_t index = 0;
  std::uint64_t stream = 0;
};

// Four independent uniform 32-bit numbers (Philox).
std::array<std::uint32_t, 4> DrawBits(std::uint64_t key, DrawPlace place);

// In (0, 1): never 0, so its logarithm is finite.
inline double UnitInterval(std::uint32_t bits) { return (static_cast<double>(bits) + 0.5) * 0x1p-32; }

// Four independent draws from the unit normal (Box and Muller).
std::array<float, 4> DrawNormal(std::uint64_t key, DrawPlace place);

}  // namespace mantissa::trainer
