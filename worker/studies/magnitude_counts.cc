#include "worker/studies/magnitude_counts.h"

#include <algorithm>
#include <cmath>

namespace mantissa::trainer {
namespace {

constexpr int kSmallestNormal = -14;  // exponent of FP16's smallest normal number
constexpr int kFlushed = -25;         // half of its smallest number, 2^-24
constexpr int kTop = 15;              // of its largest

}  // namespace

void MagnitudeCounts::Add(std::span<const float> values) {
  for (const float value : values) Add(value);
}

void MagnitudeCounts::Add(float value) {
  ++elements_;
  if (!std::isfinite(value)) {
    ++nonfinite_;
    return;
  }
  if (value == 0) {
    ++zeros_;
    return;
  }
  const float magnitude = std::fabs(value);
  max_ = std::max(max_, magnitude);
  // Not log2, which may round up to the next power.
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  Bin& bin = bins_[Place(exponent - 1)];
  ++bin.all;
  if (fraction == 0.5f) ++bin.powers;
  if (fraction >= 1 - 0x1p-12f) ++bin.near_top;
}

void MagnitudeCounts::Merge(const MagnitudeCounts& other) {
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    bins_[i].all += other.bins_[i].all;
    bins_[i].powers += other.bins_[i].powers;
    bins_[i].near_top += other.bins_[i].near_top;
  }
  elements_ += other.elements_;
  zeros_ += other.zeros_;
  nonfinite_ += other.nonfinite_;
  max_ = std::max(max_, other.max_);
}

Fp16Losses MagnitudeCounts::LossesAt(int exponent) const {
  Fp16Losses losses;
  for (int i = kLeast; i <= kMost; ++i) {
    const Bin& bin = bins_[Place(i)];
    const int scaled = i + exponent;
    if (scaled < kFlushed) {
      losses.flushed += bin.all;
    } else if (scaled < kSmallestNormal) {
      const std::int64_t flushed = scaled == kFlushed ? bin.powers : 0;
      losses.flushed += flushed;
      losses.subnormal += bin.all - flushed;
    } else if (scaled == kTop) {
      losses.overflowed += bin.near_top;
    } else if (scaled > kTop) {
      losses.overflowed += bin.all;
    }
  }
  return losses;
}

std::optional<double> MagnitudeCounts::QuantileLog2(double q) const {
  if (counted() == 0) return std::nullopt;
  const double below = q * static_cast<double>(counted());
  double passed = 0;
  for (int i = kLeast; i <= kMost; ++i) {
    const auto here = static_cast<double>(In(i));
    if (here > 0 && passed + here >= below) return std::min(i + (below - passed) / here, std::log2(double{max_}));
    passed += here;
  }
  return std::log2(double{max_});
}

}  // namespace mantissa::trainer
