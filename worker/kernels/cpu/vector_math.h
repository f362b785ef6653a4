// exp and tanh of 16 floats, the same bits on every instruction set. Polynomials and range reduction are those of
// Cephes' expf and tanhf: below 2 ulp over the range that matters here.
#pragma once

#include "worker/kernels/cpu/isa.h"

namespace mantissa::trainer::cpu {

// Bits of a where the mask is set, else of b.
MANTISSA_INLINE void Select(const Ints& mask, const Floats& a, const Floats& b, Floats* to) {
  *to = (Floats)((mask & (Ints)a) | (~mask & (Ints)b));
}

// Below -87.3, where the result is no normal number, 0; NaN stays NaN.
MANTISSA_INLINE void Exp(const Floats& x, Floats* to) {
  const Ints too_small = x < -87.3f;
  const Ints too_large = x > 88.7f;
  Floats clamped = x, limit;
  Fill(-87.3f, &limit);
  Select(too_small, limit, clamped, &clamped);
  Fill(88.7f, &limit);
  Select(too_large, limit, clamped, &clamped);
  // Adding 1.5 x 2^23 rounds to the nearest integer and leaves it in the low bits.
  const Floats shifted = clamped * 1.44269504088896341f + 12582912.0f;
  const Floats n = shifted - 12582912.0f;
  const Floats r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors, because n can be 128. (n of a NaN is a NaN; whatever its bits become, p is NaN too.)
  const Ints integer = (Ints)shifted - 0x4b400000;
  const Ints half = integer >> 1;
  const Floats scale_a = (Floats)((half + 127) << 23);
  const Floats scale_b = (Floats)((integer - half + 127) << 23);
  const Floats result = p * scale_a * scale_b;
  Floats special{};
  Select(too_small, special, result, to);
  Fill(__builtin_inff(), &special);
  Select(too_large, special, *to, to);
}

MANTISSA_INLINE void Tanh(const Floats& x, Floats* to) {
  const Floats magnitude = (Floats)((Ints)x & 0x7fffffff);
  const Floats square = x * x;
  Floats p = square * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const Floats small = p * square * x + x;
  Floats e;
  Exp(magnitude + magnitude, &e);
  const Floats large = 1.0f - 2.0f / (e + 1.0f);
  const Floats signed_large = (Floats)((Ints)large | ((Ints)x & (std::int32_t)0x80000000));
  const Ints is_small = magnitude < 0.625f;
  Select(is_small, small, signed_large, to);
}

}  // namespace mantissa::trainer::cpu
