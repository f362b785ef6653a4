// Where values lie on a plot, and which of them are written beside it. Pure.
#pragma once

#include <string>
#include <vector>

namespace mantissa::cli {

enum class AxisKind {
  kLinear,
  kLog,      // labels at 1, 2, 5 times powers of ten
  kLogOfTwo  // labels at powers of two
};

// From its first value to its last, which are finite and different; on the logarithmic ones, above 0.
struct Axis {
  AxisKind kind = AxisKind::kLinear;
  double from = 0;
  double to = 1;

  // 0 at `from`, 1 at `to`; what lies outside is moved to the end.
  double Place(double value) const;
};

// An axis on which values from `low` to `high` can be told apart, with a little room at both ends. Where the kind is
// logarithmic and `low` is not above 0, or an end is not finite, it is linear.
Axis AxisFor(AxisKind kind, double low, double high);

struct Tick {
  double value = 0;
  std::string text;
};

// At most `most` of them, in order, within the axis; `most` is at least 2. Texts of one axis have the same number of
// decimals.
std::vector<Tick> TicksOf(const Axis& axis, int most);

// For counts: whole numbers only, with thousands set apart.
std::vector<Tick> CountTicksOf(const Axis& axis, int most);

}  // namespace mantissa::cli
