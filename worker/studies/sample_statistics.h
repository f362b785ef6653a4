// Numbers that sum up a sample: quantiles, and how far a mean can be trusted. Pure.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace mantissa::trainer {

// Of at least one value.
double Mean(std::span<const double> values);

// `q` in [0, 1], of at least one value: linear between the two order statistics around it (type 7 of Hyndman and Fan,
// 1996, which is also NumPy's).
double Quantile(std::vector<double> values, double q);

struct Interval {
  double low = 0;
  double high = 0;
};

// Holds the mean of what the values were drawn from in 95 % of such samples, by Student's t; nothing for fewer than two
// values.
std::optional<Interval> MeanInterval(std::span<const double> values);

// The t that |T| stays within with probability `confidence`, in (0, 1), where T has Student's distribution with
// `degrees` degrees of freedom, 1 or more. From its closed form: Abramowitz and Stegun, 26.7.3 and 26.7.4.
double StudentQuantile(int degrees, double confidence);

}  // namespace mantissa::trainer
