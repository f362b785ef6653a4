// The distributions that parameters are drawn from. Elements 4 g to 4 g + 3 share the Philox block with counter (g,
// parameter, all ones) and the seed as its key; each word gives a uniform of 24 bits, each pair of words a pair of
// normals (Box and Muller, 1958).
//
// Additions, multiplications, divisions and square roots of IEEE 754 alone, in a fixed order and never contracted: the
// same bits on every CPU and GPU, which no library's logarithm or sine promises. Both series are exact to some 1e-16.
#pragma once

#include <cmath>
#include <cstdint>

#include "worker/amp/host_device.h"
#include "worker/kernels/dropout/philox.h"

namespace mantissa::trainer::kernels {

struct InitialDraw {
  std::uint64_t seed = 0;
  std::uint32_t parameter = 0;
  bool normal = false;  // else uniform
  double width = 1;     // the standard deviation; of a uniform, half of its range: in [-width, width)
};

// ln(m / 2^24) of m in [1, 2^24].
MANTISSA_HOST_DEVICE inline double LogOf24Bits(std::uint32_t m) {
  // m = f 2^e with f in [1/sqrt(2), sqrt(2)), and ln f = 2 artanh((f - 1) / (f + 1)), whose series ends below 2^-53
  // after s^23, for s^2 < 0.03.
  int exponent = 0;
  std::uint32_t shifted = m;
  for (int step = 16; step > 0; step /= 2) {
    if (shifted >> step != 0) {
      shifted >>= step;
      exponent += step;
    }
  }
  double fraction = static_cast<double>(m) / static_cast<double>(std::uint32_t{1} << exponent);  // in [1, 2), exact
  if (fraction > 1.4142135623730951) {
    fraction *= 0.5;
    ++exponent;
  }
  const double s = (fraction - 1) / (fraction + 1);
  const double square = s * s;
  double sum = 1.0 / 23;
  for (int odd = 21; odd >= 1; odd -= 2) sum = sum * square + 1.0 / odd;
  return 2 * s * sum + static_cast<double>(exponent - 24) * 0.69314718055994530942;
}

struct CosineAndSine {
  double cosine;
  double sine;
};

// Of the angle 2 pi k / 2^24, k < 2^24.
MANTISSA_HOST_DEVICE inline CosineAndSine CosineAndSineOf24Bits(std::uint32_t k) {
  // The nearest quarter of a turn, and what is left: at most an eighth. Taylor's series end below 2^-53 after x^18.
  const std::uint32_t quarter = (k + (1u << 21)) >> 22;
  const double left = static_cast<double>(static_cast<std::int32_t>(k) - static_cast<std::int32_t>(quarter << 22));
  const double x = left * (6.283185307179586476925 / 16777216);
  const double square = x * x;
  double sine = 1, cosine = 1;
  for (int n = 16; n >= 2; n -= 2) sine = 1 - square * (1.0 / (n * (n + 1))) * sine;
  for (int n = 17; n >= 1; n -= 2) cosine = 1 - square * (1.0 / (n * (n + 1))) * cosine;
  sine *= x;
  switch (quarter & 3) {
    case 0:
      return {cosine, sine};
    case 1:
      return {-sine, cosine};
    case 2:
      return {-cosine, -sine};
    default:
      return {sine, -cosine};
  }
}

struct InitialFour {
  float value[4];
};

// Elements 4 group to 4 group + 3.
MANTISSA_HOST_DEVICE inline InitialFour DrawInitial(const InitialDraw& draw, std::int64_t group) {
  const Philox4 words = Philox({{static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32),
                                 draw.parameter, 0xFFFFFFFF}},  // where dropout has the iteration
                               draw.seed);
  InitialFour four;
  for (int i = 0; i < 4; i += 2) {
    const std::uint32_t first = words.word[i] >> 8, second = words.word[i + 1] >> 8;
    if (draw.normal) {
      // Of 1 - u, which is never 0.
      const double radius = draw.width * std::sqrt(-2 * LogOf24Bits((1u << 24) - first));
      const CosineAndSine at = CosineAndSineOf24Bits(second);
      four.value[i] = static_cast<float>(radius * at.cosine);
      four.value[i + 1] = static_cast<float>(radius * at.sine);
    } else {
      four.value[i] = static_cast<float>((2 * (static_cast<double>(first) * 0x1p-24) - 1) * draw.width);
      four.value[i + 1] = static_cast<float>((2 * (static_cast<double>(second) * 0x1p-24) - 1) * draw.width);
    }
  }
  return four;
}

}  // namespace mantissa::trainer::kernels
