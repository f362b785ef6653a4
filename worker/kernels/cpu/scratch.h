// FP32 room for the duration of a call, at a 64-byte boundary: GEMM libraries may sum in another order at another
// alignment, and bits must not depend on where memory happened to lie.
#pragma once

#include <cstdint>
#include <cstdlib>

#include <c10/util/Exception.h>

namespace mantissa::trainer::cpu {

// Small buffers come from a region that each thread keeps and are returned in reverse order; large ones are allocated.
class Scratch {
 public:
  explicit Scratch(std::int64_t count) {
    const std::int64_t rounded = (count + 15) / 16 * 16;
    if (rounded <= kKept - used_) {
      if (region_.memory == nullptr) region_.memory = Allocate(kKept);
      data_ = region_.memory + used_;
      taken_ = rounded;
      used_ += rounded;
    } else {
      data_ = Allocate(rounded);
    }
  }
  ~Scratch() {
    if (taken_ < 0) {
      std::free(data_);
    } else {
      used_ -= taken_;
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* get() const { return data_; }

 private:
  static constexpr std::int64_t kKept = 1 << 19;  // 2 MiB, paged in as it is used

  struct Region {
    constexpr Region() : memory(nullptr) {}
    ~Region() { std::free(memory); }
    float* memory;
  };

  static float* Allocate(std::int64_t count) {
    void* memory = std::aligned_alloc(64, static_cast<std::size_t>(count > 0 ? count : 16) * sizeof(float));
    TORCH_CHECK(memory != nullptr, "out of memory: ", count, " floats of scratch space");
    return static_cast<float*>(memory);
  }

  static inline thread_local Region region_;
  static inline thread_local std::int64_t used_ = 0;

  float* data_ = nullptr;
  std::int64_t taken_ = -1;
};

}  // namespace mantissa::trainer::cpu
