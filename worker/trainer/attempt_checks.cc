#include "worker/trainer/attempt_checks.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/module_precision.h"
#include "proto/spec/parameter_groups.h"
#include "proto/spec/validate.h"
#include "worker/data/data_size.h"

namespace mantissa::trainer {
namespace {

constexpr char kReasonPayload[] = "mantissa.dev/reason";

absl::Status BadSpec(const std::vector<spec::Violation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  const std::string all = absl::StrJoin(violations, "; ", [](std::string* out, const spec::Violation& violation) {
    absl::StrAppend(out, violation.field_path, ": ", violation.description);
  });
  return Because(v1::Reason::BAD_SPEC, absl::InvalidArgumentError(all));
}

}  // namespace

absl::Status Because(v1::Reason::Code reason, absl::Status status) {
  status.SetPayload(kReasonPayload, absl::Cord(v1::Reason::Code_Name(reason)));
  return status;
}

v1::Reason::Code ReasonOf(const absl::Status& status) {
  v1::Reason::Code reason = v1::Reason::INTERNAL_ERROR;
  if (const auto payload = status.GetPayload(kReasonPayload)) v1::Reason::Code_Parse(std::string(*payload), &reason);
  return reason;
}

absl::Status DataError(const absl::Status& status) {
  return Because(absl::IsResourceExhausted(status) ? v1::Reason::OUT_OF_DEVICE_MEMORY : v1::Reason::BAD_DATA, status);
}

absl::Status CheckSpec(const v1::JobSpec& spec) { return BadSpec(spec::ValidateJobSpec(spec)); }

bool HasArithmetic(const PrecisionModes& device, v1::PrecisionSpec::Mode mode) {
  return device.empty() || std::find(device.begin(), device.end(), mode) != device.end();
}

PrecisionModes LackingModes(const v1::PrecisionSpec& precision, const PrecisionModes& device) {
  PrecisionModes lacking;
  const auto look = [&](v1::PrecisionSpec::Mode mode) {
    const bool has = mode == v1::PrecisionSpec::MODE_UNSPECIFIED || HasArithmetic(device, mode);
    if (!has && std::find(lacking.begin(), lacking.end(), mode) == lacking.end()) lacking.push_back(mode);
  };
  look(precision.mode());
  for (const v1::PrecisionOverride& override : precision.overrides()) look(override.compute());
  return lacking;
}

absl::Status CheckArithmetic(const v1::PrecisionSpec& precision, const PrecisionModes& device,
                             const std::string& device_name) {
  const PrecisionModes lacking = LackingModes(precision, device);
  if (lacking.empty() || precision.emulate()) return absl::OkStatus();
  return Because(
      v1::Reason::PRECISION_UNSUPPORTED,
      absl::FailedPreconditionError(absl::StrCat(
          "training.precision: ", device_name, " has no arithmetic for ", v1::PrecisionSpec::Mode_Name(lacking.front()),
          "; use another precision, a device that has it, or precision.emulate: true")));
}

bool CrowdsDevice(std::int64_t data_bytes, std::int64_t free_bytes) { return data_bytes > free_bytes / 2; }

absl::Status CheckAgainstData(const v1::TrainingSpec& training, const spec::SampleShape& sample) {
  if (absl::Status fits = BadSpec(spec::ValidateModelFits(training, sample)); !fits.ok()) return fits;
  const std::vector<spec::Parameter> parameters = spec::ModelParameters(training.model(), sample);
  std::vector<spec::Violation> idle = spec::FindIdleGroups(training.parameter_groups(), parameters);
  for (spec::Violation& violation : spec::FindIdleOverrides(training.precision(), parameters)) {
    idle.push_back(std::move(violation));
  }
  return BadSpec(idle);
}

absl::StatusOr<std::int64_t> TotalIterations(const v1::TrainingSpec& training, std::int64_t windows_per_epoch) {
  if (training.length_case() == v1::TrainingSpec::kIterations) return training.iterations();
  const std::int64_t total = SaturatingProduct(training.epochs(), windows_per_epoch);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (total <= kMost) return total;
  return Because(v1::Reason::BAD_SPEC,
                 absl::InvalidArgumentError(absl::StrCat("training.epochs: ", training.epochs(), " epochs of ",
                                                         windows_per_epoch, " windows are more than ", kMost,
                                                         " iterations; give fewer, or a larger batch_size")));
}

}  // namespace mantissa::trainer
