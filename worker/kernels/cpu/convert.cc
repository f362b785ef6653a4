#include "worker/kernels/cpu/convert.h"

#include <algorithm>
#include <cstring>

#include <c10/util/Exception.h>
#include <c10/util/Half.h>

#include "worker/kernels/cpu/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mantissa::trainer::cpu {
namespace {

// Small enough to stay in the first-level cache between two passes over it.
constexpr std::int64_t kBlock = 1024;

void ToHalfBaseline(const float* from, std::int64_t count, std::uint16_t* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = c10::Half(from[i]).x;
}

void FromHalfBaseline(const std::uint16_t* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(c10::Half(from[i], c10::Half::from_bits()));
}

#if defined(__x86_64__)
// Intrinsics need a function of their own instruction set, so these are not written as kernels of isa.h. The masked
// ones with all lanes set compile to the plain ones, whose headers make GCC 12 warn of uninitialized values.
constexpr __mmask16 kAll = 0xffff;

MANTISSA_TARGET_AVX512 void ToHalfAvx512(const float* from, std::int64_t count, std::uint16_t* to) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i halves = _mm512_maskz_cvtps_ph(kAll, _mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), halves);
  }
  if (i == count) return;
  const __mmask16 mask = static_cast<__mmask16>((1u << (count - i)) - 1);
  const __m256i halves = _mm512_maskz_cvtps_ph(kAll, _mm512_maskz_loadu_ps(mask, from + i), _MM_FROUND_TO_NEAREST_INT);
  _mm256_mask_storeu_epi16(to + i, mask, halves);
}

MANTISSA_TARGET_AVX512 void FromHalfAvx512(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm512_storeu_ps(to + i,
                     _mm512_maskz_cvtph_ps(kAll, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
  }
  if (i == count) return;
  const __mmask16 mask = static_cast<__mmask16>((1u << (count - i)) - 1);
  _mm512_mask_storeu_ps(to + i, mask, _mm512_maskz_cvtph_ps(kAll, _mm256_maskz_loadu_epi16(mask, from + i)));
}

MANTISSA_TARGET_AVX2 void ToHalfAvx2(const float* from, std::int64_t count, std::uint16_t* to) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
  for (; i < count; ++i) to[i] = static_cast<std::uint16_t>(_cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT));
}

MANTISSA_TARGET_AVX2 void FromHalfAvx2(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  for (; i < count; ++i) to[i] = _cvtsh_ss(from[i]);
}
#endif

void ToHalf(const float* from, std::int64_t count, std::uint16_t* to) {
#if defined(__x86_64__)
  if (host_isa == Isa::kAvx512) return ToHalfAvx512(from, count, to);
  if (host_isa == Isa::kAvx2) return ToHalfAvx2(from, count, to);
#endif
  ToHalfBaseline(from, count, to);
}

void FromHalf(const std::uint16_t* from, std::int64_t count, float* to) {
#if defined(__x86_64__)
  if (host_isa == Isa::kAvx512) return FromHalfAvx512(from, count, to);
  if (host_isa == Isa::kAvx2) return FromHalfAvx2(from, count, to);
#endif
  FromHalfBaseline(from, count, to);
}

MANTISSA_INLINE std::uint32_t RoundedBfloat16Bits(std::uint32_t bits) {
  const std::uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  // The rounding could carry a NaN's fraction into the exponent; its quiet bit is set instead.
  const std::uint32_t nan = bits | 0x00400000;
  return ((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded) & 0xffff0000;
}

struct ToBfloat16 {
  static MANTISSA_INLINE void Run(const float* from, std::int64_t count, std::uint16_t* to) {
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint32_t bits;
      __builtin_memcpy(&bits, from + i, 4);
      to[i] = static_cast<std::uint16_t>(RoundedBfloat16Bits(bits) >> 16);
    }
  }
};

struct FromBfloat16 {
  static MANTISSA_INLINE void Run(const std::uint16_t* from, std::int64_t count, float* to) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint32_t bits = static_cast<std::uint32_t>(from[i]) << 16;
      __builtin_memcpy(to + i, &bits, 4);
    }
  }
};

struct RoundThroughBfloat16 {
  static MANTISSA_INLINE void Run(const float* from, std::int64_t count, float* to) {
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint32_t bits;
      __builtin_memcpy(&bits, from + i, 4);
      bits = RoundedBfloat16Bits(bits);
      __builtin_memcpy(to + i, &bits, 4);
    }
  }
};

struct AddTo {
  static MANTISSA_INLINE void Run(const float* from, std::int64_t count, float* to) {
    for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
  }
};

}  // namespace

void Narrow(at::ScalarType low, const float* from, std::int64_t count, void* to) {
  if (low == at::kHalf) return ToHalf(from, count, static_cast<std::uint16_t*>(to));
  if (low == at::kBFloat16) return ForHostIsa<ToBfloat16>(from, count, static_cast<std::uint16_t*>(to));
  TORCH_INTERNAL_ASSERT(low == at::kFloat);
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

void Widen(at::ScalarType low, const void* from, std::int64_t count, float* to) {
  if (low == at::kHalf) return FromHalf(static_cast<const std::uint16_t*>(from), count, to);
  if (low == at::kBFloat16) return ForHostIsa<FromBfloat16>(static_cast<const std::uint16_t*>(from), count, to);
  TORCH_INTERNAL_ASSERT(low == at::kFloat);
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

void RoundThrough(at::ScalarType low, const float* from, std::int64_t count, float* to) {
  if (low == at::kBFloat16) return ForHostIsa<RoundThroughBfloat16>(from, count, to);
  if (low == at::kFloat) {
    if (from != to) std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  std::uint16_t halves[kBlock];
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t size = std::min(kBlock, count - at);
    ToHalf(from + at, size, halves);
    FromHalf(halves, size, to + at);
  }
}

void RoundAndAdd(at::ScalarType low, const float* from, std::int64_t count, float* to) {
  float rounded[kBlock];
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t size = std::min(kBlock, count - at);
    RoundThrough(low, from + at, size, rounded);
    ForHostIsa<AddTo>(static_cast<const float*>(rounded), size, to + at);
  }
}

}  // namespace mantissa::trainer::cpu
