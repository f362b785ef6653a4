#include <limits>

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

void CheckOnFailure(v1::PrecisionSpec::OnFailure on_failure, Checker& checker) {
  if (!checker.KnownEnum("on_failure", on_failure, v1::PrecisionSpec::OnFailure_IsValid(on_failure))) return;
  if (on_failure == v1::PrecisionSpec::ROLLBACK) checker.Unimplemented("on_failure", "ROLLBACK", "use FAIL or CLAMP");
  if (on_failure == v1::PrecisionSpec::FALLBACK) checker.Unimplemented("on_failure", "FALLBACK", "use FAIL or CLAMP");
}

}  // namespace

void CheckPrecision(const v1::PrecisionSpec& precision, Checker checker) {
  using Spec = v1::PrecisionSpec;
  if (checker.KnownEnum("mode", precision.mode(), Spec::Mode_IsValid(precision.mode())) &&
      precision.mode() == Spec::TF32) {
    checker.Unimplemented("mode", "TF32", "use FP32, FP16 or BF16");
  }
  CheckLossScale(precision.loss_scale(), checker.Beneath("loss_scale"));
  CheckOnFailure(precision.on_failure(), checker);
  if (precision.fallback_size() > 0) {
    checker.Unimplemented("fallback", "going on in another precision", "remove it");
  }
  if (checker.KnownEnum("storage", precision.storage(), Spec::Storage_IsValid(precision.storage())) &&
      precision.storage() == Spec::MASTER_FP32 && !IsLow(ComputeFormat(precision.mode()))) {
    checker.Add(
        "storage", ViolationReason::kConflict,
        "is MASTER_FP32, but products in this mode read FP32 weights, which are the masters themselves; use mode "
        "BF16 or FP16, or remove storage");
  }
  if (precision.overrides_size() > 0) checker.Unimplemented("overrides", "a precision by module", "remove it");
  if (precision.emulate()) checker.Unimplemented("emulate", "emulating a number format", "remove it");
}

}  // namespace mantissa::spec
