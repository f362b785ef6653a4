// Which sample stands where in a run: the arithmetic of BatchPlan as functions of plain data, for the host and for ops
// that find a window's samples on the device.
#pragma once

#include <cstdint>

#include "worker/amp/host_device.h"

namespace mantissa::trainer {

// A run's windows and the order of its samples. Plain data, in a byte tensor on the device.
struct SampleOrder {
  std::uint64_t seed = 0;
  std::int64_t samples = 1;  // at least 1
  std::int64_t batch_size = 1;
  std::int64_t windows_per_epoch = 1;
};

// Windows that a rollback left out, `first` to `last`; int64 (ranges, 2) as a tensor.
struct WindowRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

// SplitMix64's finaliser: every input bit moves every output bit.
MANTISSA_HOST_DEVICE inline std::uint64_t MixBits(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

MANTISSA_HOST_DEVICE inline std::uint64_t EpochKey(std::uint64_t seed, std::int64_t epoch) {
  return MixBits(MixBits(seed + 0x9e3779b97f4a7c15ULL) ^ (static_cast<std::uint64_t>(epoch) + 0xd1b54a32d192ed03ULL));
}

// A permutation of [0, samples): a Feistel network over the next power of two, whose two parts take turns at being
// changed by the other, walked along its cycle until it lands inside.
class Permutation {
 public:
  MANTISSA_HOST_DEVICE Permutation(std::uint64_t key, std::int64_t samples)
      : samples_(static_cast<std::uint64_t>(samples)), key_(key) {
    int bits = 0;
    while (bits < 64 && (samples_ - 1) >> bits != 0) ++bits;
    low_bits_ = (bits + 1) / 2;
    low_mask_ = (std::uint64_t{1} << low_bits_) - 1;
    high_mask_ = (std::uint64_t{1} << (bits - low_bits_)) - 1;
  }

  MANTISSA_HOST_DEVICE std::uint64_t operator()(std::uint64_t position) const {
    do {
      position = Encrypt(position);
    } while (position >= samples_);
    return position;
  }

 private:
  // More rounds than the four that make a Feistel network indistinguishable from random, because the halves of a small
  // data set have few bits.
  static constexpr int kRounds = 8;

  MANTISSA_HOST_DEVICE std::uint64_t Encrypt(std::uint64_t x) const {
    std::uint64_t low = x & low_mask_;
    std::uint64_t high = x >> low_bits_;
    for (std::uint64_t round = 0; round < kRounds; round += 2) {
      low ^= MixBits(key_ + round * 0x9e3779b97f4a7c15ULL + high) & low_mask_;
      high ^= MixBits(key_ + (round + 1) * 0x9e3779b97f4a7c15ULL + low) & high_mask_;
    }
    return high << low_bits_ | low;
  }

  std::uint64_t samples_;
  std::uint64_t key_;
  int low_bits_ = 0;
  std::uint64_t low_mask_ = 0;
  std::uint64_t high_mask_ = 0;
};

// The sample at `place` of a window, both counted from 0. In range also where the window has fewer places: a halted run
// may be told to run a window of another size, of which nothing is kept.
MANTISSA_HOST_DEVICE inline std::int64_t SampleAt(const SampleOrder& order, std::int64_t window, std::int64_t place) {
  const std::int64_t position = (window % order.windows_per_epoch * order.batch_size + place) % order.samples;
  const Permutation permutation(EpochKey(order.seed, window / order.windows_per_epoch), order.samples);
  return static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(position)));
}

// See BatchPlan::WindowAfter. `skipped`: `count` ranges in order that do not touch.
MANTISSA_HOST_DEVICE inline std::int64_t WindowAfter(const WindowRange* skipped, std::int64_t count,
                                                     std::int64_t iteration) {
  std::int64_t window = iteration;
  for (std::int64_t i = 0; i < count; ++i) {
    if (window < skipped[i].first) break;
    window += skipped[i].last - skipped[i].first + 1;
  }
  return window;
}

}  // namespace mantissa::trainer
