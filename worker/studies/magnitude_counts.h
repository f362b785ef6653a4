// Magnitudes of gradients, counted so that what FP16 loses of them is known exactly for every loss scale that is a
// power of two. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace mantissa::trainer {

// Of elements that are finite and not 0. An element is in one of them at most.
struct Fp16Losses {
  std::int64_t subnormal = 0;   // below 2^-14 and kept, with fewer bits
  std::int64_t flushed = 0;     // rounded to 0: 2^-25 and below, for the tie goes to the even 0
  std::int64_t overflowed = 0;  // rounded to Inf: 65520 and above, halfway from the largest, 65504, to 2^16
};

// A scale that is a power of two moves all elements by whole bins. Two of FP16's boundaries do not lie between bins:
// zero takes exact powers of two with it, and Inf begins within a bin; for these a bin counts what lies there apart.
// Not thread-safe.
class MagnitudeCounts {
 public:
  static constexpr int kLeast = -149;  // 2^-149 is FP32's smallest number
  static constexpr int kMost = 127;

  void Add(std::span<const float> values);
  void Add(float value);
  void Merge(const MagnitudeCounts& other);

  std::int64_t elements() const { return elements_; }
  std::int64_t zeros() const { return zeros_; }
  std::int64_t nonfinite() const { return nonfinite_; }
  // Finite and not 0.
  std::int64_t counted() const { return elements_ - zeros_ - nonfinite_; }
  // Largest finite magnitude; 0 where there is none.
  float max() const { return max_; }

  // With 2^exponent <= magnitude < 2^(exponent + 1); `exponent` is in [kLeast, kMost].
  std::int64_t In(int exponent) const { return bins_[Place(exponent)].all; }

  // Of the elements times 2^exponent.
  Fp16Losses LossesAt(int exponent) const;

  // log2 of the magnitude that a share `q` of the counted elements stays below, linear within a bin; nothing where none
  // is counted.
  std::optional<double> QuantileLog2(double q) const;

 private:
  struct Bin {
    std::int64_t all = 0;
    std::int64_t powers = 0;    // exactly 2^exponent
    std::int64_t near_top = 0;  // at least (2 - 2^-11) 2^exponent: what 65520 is of 2^15
  };

  static std::size_t Place(int exponent) { return static_cast<std::size_t>(exponent - kLeast); }

  std::array<Bin, kMost - kLeast + 1> bins_;
  std::int64_t elements_ = 0;
  std::int64_t zeros_ = 0;
  std::int64_t nonfinite_ = 0;
  float max_ = 0;
};

}  // namespace mantissa::trainer
