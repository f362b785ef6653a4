#include "worker/studies/sample_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <numeric>

namespace mantissa::trainer {
namespace {

constexpr double kConfidence = 0.95;

// The probability that |T| is at most `t`.
double StudentWithin(int degrees, double t) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double square = std::cos(angle) * std::cos(angle);
  // Even: 1 + 1/2 cos^2 + (1 3)/(2 4) cos^4 + ...; odd: cos + 2/3 cos^3 + (2 4)/(3 5) cos^5 + ...
  const bool odd = degrees % 2 == 1;
  double term = odd ? std::cos(angle) : 1;
  double sum = degrees == 1 ? 0 : term;
  for (int i = odd ? 3 : 2; i <= degrees - 2; i += 2) {
    term *= square * (i - 1) / i;
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

}  // namespace

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  if (below + 1 >= values.size()) return values.back();
  return values[below] + (place - static_cast<double>(below)) * (values[below + 1] - values[below]);
}

std::optional<Interval> MeanInterval(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double mean = Mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const auto count = static_cast<double>(values.size());
  const double error = std::sqrt(squares / (count - 1) / count);
  const double reach = StudentQuantile(static_cast<int>(values.size()) - 1, kConfidence) * error;
  return Interval{mean - reach, mean + reach};
}

double StudentQuantile(int degrees, double confidence) {
  double low = 0;
  double high = 1;
  while (StudentWithin(degrees, high) < confidence) high *= 2;
  constexpr int kHalvings = 100;  // down to neighbouring doubles
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = low + (high - low) / 2;
    (StudentWithin(degrees, middle) < confidence ? low : high) = middle;
  }
  return high;
}

}  // namespace mantissa::trainer
