// One source, compiled for the instruction sets that x86 CPUs have, chosen when the program runs.
//
// A kernel is a struct with `static void Run(...)`, MANTISSA_INLINE, as is all that it calls; ForHostIsa<Kernel>(...)
// runs the best version. Every version gives the same bits: sums go into a fixed number of lanes, and this library is
// compiled without contraction of products and sums.
#pragma once

#include <cstdint>

#define MANTISSA_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__)
#define MANTISSA_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define MANTISSA_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#else
#define MANTISSA_TARGET_AVX2
#define MANTISSA_TARGET_AVX512
#endif

namespace mantissa::trainer::cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };

inline Isa DetectIsa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return Isa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

// What the kernels run with. Tests lower it, to compare; nothing else writes it.
inline Isa host_isa = DetectIsa();

template <class Kernel, class... Arguments>
MANTISSA_TARGET_AVX512 void RunAvx512(Arguments... arguments) {
  Kernel::Run(arguments...);
}
template <class Kernel, class... Arguments>
MANTISSA_TARGET_AVX2 void RunAvx2(Arguments... arguments) {
  Kernel::Run(arguments...);
}

template <class Kernel, class... Arguments>
void ForHostIsa(Arguments... arguments) {
  switch (host_isa) {
    case Isa::kAvx512:
      return RunAvx512<Kernel>(arguments...);
    case Isa::kAvx2:
      return RunAvx2<Kernel>(arguments...);
    case Isa::kBaseline:
      return Kernel::Run(arguments...);
  }
}

// Where the machine's vectors are shorter, the compiler splits these.
typedef float Floats __attribute__((vector_size(64)));       // 16
typedef std::int32_t Ints __attribute__((vector_size(64)));  // 16
typedef double Doubles __attribute__((vector_size(64)));     // 8
typedef float HalfFloats __attribute__((vector_size(32)));   // 8
inline constexpr std::int64_t kLanes = 16;
// Of FP32's infinity; those of NaN, without the sign, are larger.
inline constexpr std::int32_t kInfBits = 0x7f800000;

// Any alignment.
MANTISSA_INLINE void Load(const float* from, Floats* to) { __builtin_memcpy(to, from, sizeof(Floats)); }
MANTISSA_INLINE void Store(const Floats& from, float* to) { __builtin_memcpy(to, &from, sizeof(Floats)); }

MANTISSA_INLINE void Fill(float value, Floats* to) { *to = Floats{} + value; }

}  // namespace mantissa::trainer::cpu
