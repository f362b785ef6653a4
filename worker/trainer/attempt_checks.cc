#include "worker/trainer/attempt_checks.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/validate.h"
#include "worker/data/data_size.h"

namespace mantissa::trainer {
namespace {

constexpr char kReasonPayload[] = "mantissa.dev/reason";

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

absl::Status CheckSpec(const v1::JobSpec& spec) {
  const std::vector<spec::Violation> violations = spec::ValidateJobSpec(spec);
  if (violations.empty() && spec.has_training()) return absl::OkStatus();
  if (violations.empty()) {
    return Because(v1::Reason::BAD_SPEC,
                   absl::InvalidArgumentError("training: is missing; this trainer runs nothing else"));
  }
  std::string all = absl::StrJoin(violations, "; ", [](std::string* out, const spec::Violation& violation) {
    absl::StrAppend(out, violation.field_path, ": ", violation.description);
  });
  return Because(v1::Reason::BAD_SPEC, absl::InvalidArgumentError(all));
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
