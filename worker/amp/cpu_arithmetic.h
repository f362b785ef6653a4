// What the CPU computes by itself. Where it has no BF16 arithmetic, the library's BF16 products are emulated and many
// times slower than those of FP32; FP16 arithmetic is never used (see PrecisionPolicy).
#pragma once

#include <string>

#include <ATen/Version.h>

namespace mantissa::trainer {

inline bool CpuHasBfloat16() {
#if defined(__x86_64__)
  static const bool has = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") != 0;  // every CPU with AMX has it as well
  }();
  return has;
#else
  return false;
#endif
}

// LibTorch's name of the instruction set, and what our own choice of products adds to it: `AVX512+BF16`.
inline std::string CpuCapability() { return at::get_cpu_capability() + (CpuHasBfloat16() ? "+BF16" : ""); }

}  // namespace mantissa::trainer
