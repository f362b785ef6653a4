#include "worker/studies/report/number_text.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mantissa::trainer {

std::string PercentText(double share) { return absl::StrFormat("%.3g %%", 100 * share); }

std::string ScaleText(double loss_scale) {
  int exponent = 0;
  if (std::frexp(loss_scale, &exponent) == 0.5) return absl::StrCat("2^", exponent - 1);
  return absl::StrFormat("%.6g", loss_scale);
}

std::string TimeText(double seconds) {
  // Up to what three digits would round up to the next unit.
  if (seconds < 0.9995e-3) return absl::StrFormat("%.3g us", 1e6 * seconds);
  if (seconds < 0.9995) return absl::StrFormat("%.3g ms", 1e3 * seconds);
  return absl::StrFormat("%.3g s", seconds);
}

std::string CountText(long count, const std::string& what) {
  return absl::StrCat(count, " ", what, count == 1 ? "" : "s");
}

}  // namespace mantissa::trainer
