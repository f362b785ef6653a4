#include "client/cli/plot/axis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

constexpr double kRoom = 0.04;  // of the axis, at each end
// So that an axis is longer than its values, and both its ends are numbers.
constexpr double kMost = 1e300, kLeast = 1e-300;
// Beyond these a number is written with an exponent.
constexpr double kMostWritten = 1e6;
constexpr int kMostDecimals = 4;

std::string Decimals(double value, int decimals) {
  std::array<char, 64> buffer;
  const int length = std::snprintf(buffer.data(), buffer.size(), "%.*f", decimals, value);
  return std::string(buffer.data(), static_cast<std::size_t>(std::clamp(length, 0, 63)));
}

// 1, 2, 2.5 or 5 times a power of ten, the smallest that is no less than `least`.
double NiceStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// Decimals that a multiple of the step has; more than kMostDecimals where they are more.
int DecimalsOf(double step) {
  int decimals = 0;
  while (decimals <= kMostDecimals && std::abs(step - std::round(step)) > 1e-6 * step) {
    step *= 10;
    ++decimals;
  }
  return decimals;
}

std::vector<Tick> StepTicks(const Axis& axis, double step) {
  std::vector<Tick> ticks;
  const double magnitude = std::max(std::abs(axis.from), std::abs(axis.to));
  const int decimals = DecimalsOf(step);
  const bool written = magnitude < kMostWritten && decimals <= kMostDecimals;
  // Digits that tell neighbours apart.
  const int digits = static_cast<int>(std::clamp(std::ceil(std::log10(magnitude / step)) + 1, 2.0, 15.0)) + 1;
  for (double count = std::ceil(axis.from / step - 1e-9); count * step <= axis.to + step * 1e-9; ++count) {
    const double value = count == 0 ? 0 : count * step;
    ticks.push_back({value, written ? Decimals(value, decimals) : ShortNumber(value, digits)});
    if (ticks.size() > 1000) break;  // a step that is lost in the digits of the axis
  }
  return ticks;
}

// The ticks of the smallest nice step that makes no more than `most`; with `whole`, of a whole number.
std::vector<Tick> LinearTicks(const Axis& axis, int most, bool whole) {
  double step = NiceStep((axis.to - axis.from) / (most + 1));
  if (whole) step = std::max(1.0, step);
  while (true) {
    if (!whole || DecimalsOf(step) == 0) {
      std::vector<Tick> ticks = StepTicks(axis, step);
      if (static_cast<int>(ticks.size()) <= most) return ticks;
    }
    step = NiceStep(step * 1.01);
  }
}

std::string PowerText(double value, int exponent) {
  if (exponent >= -3 && exponent < 6) return Decimals(value, std::max(0, -exponent));
  std::array<char, 32> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.0fe%d", value / std::pow(10, exponent), exponent);
  return buffer.data();
}

// `factors` times every `stride`th power of ten.
std::vector<Tick> PowerTicks(const Axis& axis, std::initializer_list<double> factors, int stride) {
  std::vector<Tick> ticks;
  const int first = static_cast<int>(std::floor(std::log10(axis.from)));
  const int last = static_cast<int>(std::ceil(std::log10(axis.to)));
  for (int exponent = first; exponent <= last; ++exponent) {
    if (exponent % stride != 0) continue;
    for (const double factor : factors) {
      const double value = factor * std::pow(10, exponent);
      if (value >= axis.from * (1 - 1e-9) && value <= axis.to * (1 + 1e-9)) {
        ticks.push_back({value, PowerText(value, exponent)});
      }
    }
  }
  return ticks;
}

std::vector<Tick> LogTicks(const Axis& axis, int most) {
  std::vector<Tick> ticks = PowerTicks(axis, {1, 2, 5}, 1);
  if (static_cast<int>(ticks.size()) > most) ticks = PowerTicks(axis, {1, 3}, 1);
  for (int stride = 1; static_cast<int>(ticks.size()) > most; ++stride) ticks = PowerTicks(axis, {1}, stride);
  return ticks;
}

std::vector<Tick> PowerOfTwoTicks(const Axis& axis, int most) {
  const int first = static_cast<int>(std::ceil(std::log2(axis.from) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log2(axis.to) + 1e-9));
  std::vector<Tick> ticks;
  for (int stride = 1; ticks.empty() || static_cast<int>(ticks.size()) > most; ++stride) {
    ticks.clear();
    for (int exponent = first; exponent <= last; ++exponent) {
      if (exponent % stride != 0) continue;
      ticks.push_back({std::ldexp(1.0, exponent), ScaleText(std::ldexp(1.0, exponent))});
    }
    if (stride > last - first) break;
  }
  return ticks;
}

double Transformed(AxisKind kind, double value) { return kind == AxisKind::kLinear ? value : std::log2(value); }

}  // namespace

double Axis::Place(double value) const {
  if (!(value > from)) return 0;
  if (!(value < to)) return 1;
  const double low = Transformed(kind, from);
  return std::clamp((Transformed(kind, value) - low) / (Transformed(kind, to) - low), 0.0, 1.0);
}

Axis AxisFor(AxisKind kind, double low, double high) {
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) return {};
  if (kind != AxisKind::kLinear && !(low > 0)) kind = AxisKind::kLinear;
  low = std::clamp(low, -kMost, kMost);
  high = std::clamp(high, -kMost, kMost);
  if (kind == AxisKind::kLinear) {
    // What is alike in all the digits that can be told apart lies in the middle.
    const double least = std::max(std::abs(low), std::abs(high)) * 1e-9;
    const double room = high - low > least ? kRoom * (high - low)
                        : low == 0         ? 1
                                           : std::max(kLeast, 0.1 * std::abs(low));
    const double from = low - room;
    // Of what is never below 0, nothing is drawn below 0.
    return {kind, low >= 0 ? std::max(0.0, from) : from, high + room};
  }
  low = std::max(low, kLeast);
  high = std::max(high, low);
  const double factor = high > low * (1 + 1e-9) ? std::exp2(kRoom * (std::log2(high) - std::log2(low))) : 2;
  return {kind, std::max(low / factor, 1e-7 * kLeast), std::min(high * factor, 1e7 * kMost)};
}

std::vector<Tick> TicksOf(const Axis& axis, int most) {
  most = std::max(2, most);
  std::vector<Tick> ticks;
  if (axis.kind == AxisKind::kLog) ticks = LogTicks(axis, most);
  if (axis.kind == AxisKind::kLogOfTwo) ticks = PowerOfTwoTicks(axis, most);
  // Less than a factor from end to end.
  if (ticks.size() < 2) ticks = LinearTicks(axis, most, /*whole=*/false);
  return ticks;
}

std::vector<Tick> CountTicksOf(const Axis& axis, int most) {
  most = std::max(2, most);
  std::vector<Tick> ticks = LinearTicks(axis, most, /*whole=*/true);
  for (Tick& tick : ticks) tick.text = GroupedCount(static_cast<std::int64_t>(std::llround(tick.value)));
  return ticks;
}

}  // namespace mantissa::cli
