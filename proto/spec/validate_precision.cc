#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"
#include "proto/spec/precision_table.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

// The scale is a 32-bit float on the device: smaller is subnormal or zero there, and 2^127 x 2 is Inf.
constexpr double kMinScale = 0x1p-126;
constexpr double kMaxScale = 0x1p127;
constexpr std::int32_t kMaxCount = std::numeric_limits<std::int32_t>::max();

void CheckLossScale(const v1::LossScaleSpec& scale, Checker checker) {
  checker.KnownEnum("preset", scale.preset(), v1::LossScaleSpec::Preset_IsValid(scale.preset()));
  const auto number = [&](std::string_view field, bool given, double value, Interval interval,
                          std::string_view example) {
    return !given || checker.Number(field, value, interval, example);
  };
  const bool init = number("init", scale.has_init(), scale.init(), {.min = kMinScale, .max = kMaxScale}, "65536");
  // Nearer to 1 than a 32-bit float can say, the factor would be 1 on the device and the scale would stand still.
  constexpr double kNearest = 1e-6;
  number("growth_factor", scale.has_growth_factor(), scale.growth_factor(), {.min = 1 + kNearest, .max = 0x1p64}, "2");
  number("backoff_factor", scale.has_backoff_factor(), scale.backoff_factor(), {.min = 0x1p-64, .max = 1 - kNearest},
         "0.5");
  if (scale.has_growth_interval()) checker.Whole("growth_interval", scale.growth_interval(), 1, kMaxCount, 2000);
  if (scale.has_hysteresis()) checker.Whole("hysteresis", scale.hysteresis(), 1, kMaxCount, 2);
  const bool min = number("min", scale.has_min(), scale.min(), {.min = 0, .max = kMaxScale}, "1 (0 for no floor)");
  const bool max =
      number("max", scale.has_max(), scale.max(), {.min = 0, .max = kMaxScale}, "16777216 (0 for no ceiling)");
  if (!init || !min || !max) return;
  const bool ceiling = scale.max() > 0;
  if (ceiling && scale.min() > scale.max()) {
    checker.Add("min", ViolationReason::kConflict,
                absl::StrCat("is ", scale.min(), ", above max, which is ", scale.max(), "; lower min, or raise max"));
    return;
  }
  if (!scale.has_init()) return;
  if (scale.init() < scale.min()) {
    checker.Add("init", ViolationReason::kConflict,
                absl::StrCat("is ", scale.init(), ", below min, which is ", scale.min(), "; raise init, or lower min"));
  }
  if (ceiling && scale.init() > scale.max()) {
    checker.Add("init", ViolationReason::kConflict,
                absl::StrCat("is ", scale.init(), ", above max, which is ", scale.max(), "; lower init, or raise max"));
  }
}

void CheckFallback(const v1::PrecisionSpec& precision, Checker& checker) {
  using Spec = v1::PrecisionSpec;
  for (int i = 0; i < precision.fallback_size(); ++i) {
    const std::string field = Indexed("fallback", i);
    const Spec::Mode mode = precision.fallback(i);
    const auto earlier = precision.fallback().begin();
    if (!checker.KnownEnum(field, mode, Spec::Mode_IsValid(mode))) continue;
    if (mode == Spec::MODE_UNSPECIFIED) {
      checker.Add(field, ViolationReason::kRequired, "names no precision; give one, such as FP32, or remove it");
    } else if (mode == precision.mode()) {
      checker.Add(
          field, ViolationReason::kConflict,
          absl::StrCat("is ", Spec::Mode_Name(mode), ", which is what mode is; name another precision, such as ",
                       mode == Spec::FP32 ? "BF16" : "FP32", ", or remove it"));
    } else if (std::find(earlier, earlier + i, mode) != earlier + i) {
      checker.Add(field, ViolationReason::kConflict,
                  absl::StrCat("is ", Spec::Mode_Name(mode),
                               " for a second time; each precision is gone on in once: "
                               "remove it"));
    }
  }
}

void CheckOnFailure(const v1::PrecisionSpec& precision, Checker& checker) {
  using Spec = v1::PrecisionSpec;
  checker.KnownEnum("on_failure", precision.on_failure(), Spec::OnFailure_IsValid(precision.on_failure()));
  if (precision.on_failure() == Spec::FALLBACK && precision.fallback_size() == 0) {
    checker.Add("on_failure", ViolationReason::kConflict,
                "is FALLBACK, but no precision to go on in is named; add fallback, such as [BF16, FP32], or use FAIL");
  }
  CheckFallback(precision, checker);
  if (precision.has_max_rollbacks()) checker.Whole("max_rollbacks", precision.max_rollbacks(), 0, 100, 3);
}

void CheckLossSpike(const v1::LossSpikeGuard& guard, Checker checker) {
  checker.KnownEnum("action", guard.action(), v1::LossSpikeGuard::Action_IsValid(guard.action()));
  if (guard.has_factor()) {
    checker.Number("factor", guard.factor(), {.min = 1, .max = 1e6, .min_open = true}, "2");
  }
  if (guard.has_iterations()) checker.Whole("iterations", guard.iterations(), 1, 1000, 3);
}

}  // namespace

void CheckPrecision(const v1::PrecisionSpec& precision, Checker checker) {
  using Spec = v1::PrecisionSpec;
  checker.KnownEnum("mode", precision.mode(), Spec::Mode_IsValid(precision.mode()));
  CheckLossScale(precision.loss_scale(), checker.Beneath("loss_scale"));
  CheckOnFailure(precision, checker);
  checker.Whole("statistics_window", precision.statistics_window(), 1, 1'000'000, 1000);
  if (checker.KnownEnum("storage", precision.storage(), Spec::Storage_IsValid(precision.storage())) &&
      precision.storage() == Spec::MASTER_FP32 && !IsLow(ComputeFormat(precision.mode()))) {
    checker.Add(
        "storage", ViolationReason::kConflict,
        "is MASTER_FP32, but products in this mode read FP32 weights, which are the masters themselves; use mode "
        "BF16 or FP16, or remove storage");
  }
  CheckOverrides(precision, checker);
  CheckLossSpike(precision.loss_spike(), checker.Beneath("loss_spike"));
}

}  // namespace mantissa::spec
