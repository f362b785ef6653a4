#include "worker/data/batch_plan.h"

#include <algorithm>
#include <bit>

#include "proto/spec/defaults.h"
#include "proto/spec/lineage.h"

namespace mantissa::trainer {
namespace {

// More rounds than the four that make a Feistel network indistinguishable from random, because the halves of a small
// data set have few bits.
constexpr int kRounds = 8;

// SplitMix64's finaliser: every input bit moves every output bit.
std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t EpochKey(std::uint64_t seed, std::int64_t epoch) {
  return Mix(Mix(seed + 0x9e3779b97f4a7c15ULL) ^ (static_cast<std::uint64_t>(epoch) + 0xd1b54a32d192ed03ULL));
}

// A permutation of [0, samples): a Feistel network over the next power of two, whose two parts take turns at being
// changed by the other, walked along its cycle until it lands inside.
class Permutation {
 public:
  Permutation(std::uint64_t key, std::int64_t samples) : samples_(static_cast<std::uint64_t>(samples)), key_(key) {
    const int bits = std::bit_width(samples_ - 1);
    low_bits_ = (bits + 1) / 2;
    low_mask_ = (std::uint64_t{1} << low_bits_) - 1;
    high_mask_ = (std::uint64_t{1} << (bits - low_bits_)) - 1;
  }

  std::uint64_t operator()(std::uint64_t position) const {
    do {
      position = Encrypt(position);
    } while (position >= samples_);
    return position;
  }

 private:
  std::uint64_t Encrypt(std::uint64_t x) const {
    std::uint64_t low = x & low_mask_;
    std::uint64_t high = x >> low_bits_;
    for (std::uint64_t round = 0; round < kRounds; round += 2) {
      low ^= Mix(key_ + round * 0x9e3779b97f4a7c15ULL + high) & low_mask_;
      high ^= Mix(key_ + (round + 1) * 0x9e3779b97f4a7c15ULL + low) & high_mask_;
    }
    return high << low_bits_ | low;
  }

  std::uint64_t samples_;
  std::uint64_t key_;
  int low_bits_ = 0;
  std::uint64_t low_mask_ = 0;
  std::uint64_t high_mask_ = 0;
};

}  // namespace

std::int64_t ShuffledIndex(std::uint64_t seed, std::int64_t epoch, std::int64_t samples, std::int64_t position) {
  const Permutation permutation(EpochKey(seed, epoch), samples);
  return static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(position)));
}

BatchPlan::BatchPlan(const BatchPlanOptions& options)
    : options_(options),
      windows_per_epoch_(spec::IterationsPerEpoch(options.samples, options.batch_size)),
      micro_batch_size_((options.batch_size - 1) / options.accumulation + 1) {}

std::int64_t BatchPlan::WindowAfter(std::int64_t iteration) const {
  return spec::WindowAfter(options_.lineage, iteration);
}

std::int64_t BatchPlan::WindowSize(std::int64_t window) const {
  const std::int64_t begin = window % windows_per_epoch_ * options_.batch_size;
  return std::min<std::int64_t>(options_.batch_size, options_.samples - begin);
}

std::int64_t BatchPlan::MicroBatches(std::int64_t window) const {
  return (WindowSize(window) - 1) / micro_batch_size_ + 1;
}

void BatchPlan::MicroBatch(std::int64_t window, std::int64_t micro_batch, std::vector<std::int64_t>& indices) const {
  const std::int64_t begin = micro_batch * micro_batch_size_;
  const std::int64_t end = std::min(begin + micro_batch_size_, WindowSize(window));
  const std::int64_t first = window % windows_per_epoch_ * options_.batch_size;
  const Permutation permutation(EpochKey(options_.seed, window / windows_per_epoch_), options_.samples);
  indices.clear();
  for (std::int64_t i = begin; i < end; ++i) {
    indices.push_back(static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(first + i))));
  }
}

}  // namespace mantissa::trainer
