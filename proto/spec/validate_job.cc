#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"
#include "proto/spec/unknown_fields.h"
#include "proto/spec/validate.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr std::size_t kMaxNameBytes = 63;
constexpr std::size_t kMaxLabels = 64;
constexpr std::size_t kMaxLabelValueBytes = 256;
constexpr std::int64_t kMaxBackoffSeconds = 86'400;

bool IsLetterOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// [a-z0-9]([a-z0-9._-]*[a-z0-9])?
bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= kMaxNameBytes && IsLetterOrDigit(text.front()) &&
         IsLetterOrDigit(text.back()) && std::all_of(text.begin(), text.end(), [](char c) {
           return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-';
         });
}

constexpr char kNameRule[] =
    "1 to 63 of a-z, 0-9, '.', '_' and '-' are allowed, a letter or digit first and last, such as digits-fp16";

void CheckLabels(std::string_view field, const google::protobuf::Map<std::string, std::string>& labels,
                 Checker& checker) {
  if (labels.size() > kMaxLabels) {
    checker.Add(field, ViolationReason::kOutOfRange,
                absl::StrCat("has ", labels.size(), " entries; at most ", kMaxLabels, " are allowed"));
    return;
  }
  // A map has no order of its own, and the same spec must give the same list.
  std::vector<std::string> keys;
  for (const auto& [key, value] : labels) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) {
    const std::string path = absl::StrCat(std::string(field), "[", Shown(key), "]");
    if (!IsName(key)) {
      checker.Add(path, ViolationReason::kInvalidFormat, absl::StrCat("the key is not a name: ", kNameRule));
    }
    if (const std::size_t size = labels.at(key).size(); size > kMaxLabelValueBytes) {
      checker.Add(path, ViolationReason::kOutOfRange,
                  absl::StrCat("the value has ", size, " bytes; at most ", kMaxLabelValueBytes, " are allowed"));
    }
  }
}

// "8.0", "12.1"
bool IsComputeCapability(const std::string& text) {
  const std::size_t dot = text.find('.');
  const auto digits = [](const std::string& part) {
    return !part.empty() && part.size() <= 2 &&
           std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  return dot != std::string::npos && digits(text.substr(0, dot)) && digits(text.substr(dot + 1));
}

void CheckResources(const v1::ResourceSpec& resources, Checker checker) {
  using Spec = v1::ResourceSpec;
  checker.KnownEnum("device", resources.device(), Spec::Device_IsValid(resources.device()));
  const bool cpu = resources.device() == Spec::CPU;
  if (resources.gpus() > 1 && !cpu) {
    checker.Unimplemented("gpus", "training on several GPUs", "set it to 1");
  } else if (resources.gpus() != 0 && cpu) {
    checker.Add("gpus", ViolationReason::kConflict,
                absl::StrCat("is ", resources.gpus(), " beside device CPU; remove it, or set device to CUDA"));
  } else if (resources.has_gpus() && !cpu) {
    checker.Whole("gpus", resources.gpus(), 1, 1, 1);
  }
  checker.Whole("cpu_threads", resources.cpu_threads(), 0, 1024, 4);
  checker.Whole("memory_bytes", resources.memory_bytes(), 0, kMaxMemoryBytes, std::int64_t{8} << 30);
  CheckLabels("worker_selector", resources.worker_selector(), checker);
  if (!resources.has_gpu()) return;
  Checker gpu = checker.Beneath("gpu");
  if (cpu) {
    gpu.Add("", ViolationReason::kConflict, "is given beside device CPU; remove it, or set device to CUDA");
  }
  if (resources.gpu().model().size() > kMaxLabelValueBytes) {
    gpu.Add("model", ViolationReason::kOutOfRange,
            absl::StrCat("has ", resources.gpu().model().size(), " bytes; at most ", kMaxLabelValueBytes,
                         " are allowed, such as H200"));
  }
  gpu.Whole("min_memory_bytes", resources.gpu().min_memory_bytes(), 0, kMaxMemoryBytes, std::int64_t{40} << 30);
  const std::string& capability = resources.gpu().min_compute_capability();
  if (!capability.empty() && !IsComputeCapability(capability)) {
    gpu.Add("min_compute_capability", ViolationReason::kInvalidFormat,
            absl::StrCat("is ", Shown(capability), "; a major and a minor number are allowed, such as 8.0"));
  }
}

bool Longer(const google::protobuf::Duration& a, const google::protobuf::Duration& b) {
  return a.seconds() != b.seconds() ? a.seconds() > b.seconds() : a.nanos() > b.nanos();
}

// Ends that a spec may have retried although they are final by default, and the other way round. Everything else is
// either nobody's fault, or would end the same again (BAD_SPEC, PRECISION_UNSUPPORTED), or is a person's wish.
constexpr std::array kMayBeRetried = {v1::Reason::BAD_DATA,          v1::Reason::NUMERIC_FAILURE,
                                      v1::Reason::SCALE_AT_MINIMUM,  v1::Reason::OUT_OF_DEVICE_MEMORY,
                                      v1::Reason::CHECKPOINT_FAILED, v1::Reason::INTERNAL_ERROR};
constexpr std::array kMayBeFinal = {v1::Reason::NODE_LOST,   v1::Reason::OOM_KILLED, v1::Reason::KILLED,
                                    v1::Reason::CRASHED,     v1::Reason::STALLED,    v1::Reason::START_TIMEOUT,
                                    v1::Reason::TRAINER_LOST};

template <typename Reasons>
void CheckReasons(std::string_view field, const google::protobuf::RepeatedField<int>& given, const Reasons& allowed,
                  Checker& checker) {
  for (int i = 0; i < given.size(); ++i) {
    if (std::find(allowed.begin(), allowed.end(), given[i]) != allowed.end()) continue;
    std::string names;
    for (const v1::Reason::Code code : allowed) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", v1::Reason::Code_Name(code));
    }
    checker.Add(Indexed(field, i), ViolationReason::kOutOfRange, absl::StrCat("must be one of ", names));
  }
}

void CheckRetry(const v1::RetryPolicy& retry, Checker checker) {
  CheckReasons("retry_on", retry.retry_on(), kMayBeRetried, checker);
  CheckReasons("never_on", retry.never_on(), kMayBeFinal, checker);
  checker.Whole("max_attempts", retry.max_attempts(), 1, 1000, 4);
  const bool initial = checker.Duration("initial_backoff", retry.initial_backoff(), false, kMaxBackoffSeconds, "1s");
  const bool max = checker.Duration("max_backoff", retry.max_backoff(), false, kMaxBackoffSeconds, "60s");
  if (initial && max && Longer(retry.initial_backoff(), retry.max_backoff())) {
    checker.Add("initial_backoff", ViolationReason::kConflict,
                "is longer than max_backoff (60s by default); lower it, or raise max_backoff");
  }
}

void CheckTimeouts(const v1::TimeoutSpec& timeouts, Checker checker) {
  const auto check = [&](std::string_view field, bool given, const google::protobuf::Duration& value) {
    if (given) checker.Duration(field, value, true, kLongestSeconds, "3600s");
  };
  check("queue", timeouts.has_queue(), timeouts.queue());
  check("attempt", timeouts.has_attempt(), timeouts.attempt());
  check("total", timeouts.has_total(), timeouts.total());
  check("start", timeouts.has_start(), timeouts.start());
  check("stall", timeouts.has_stall(), timeouts.stall());
}

void CheckRecording(const v1::JobSpec& spec, Checker& checker) {
  const bool cpu = spec.resources().device() == v1::ResourceSpec::CPU;
  if (!cpu || spec.training().execution().mode() != v1::ExecutionSpec::GRAPH) return;
  checker.Add("training.execution.mode", ViolationReason::kConflict,
              "is GRAPH beside device CPU, which has no graphs; use AUTO, or set resources.device to CUDA");
}

}  // namespace

std::vector<Violation> ValidateJobSpec(const v1::JobSpec& submitted) {
  std::vector<Violation> violations;
  Checker checker(violations, "");
  if (const std::size_t size = submitted.ByteSizeLong(); size > kMaxSpecBytes) {
    checker.Add("", ViolationReason::kOutOfRange,
                absl::StrCat("the spec has ", size, " bytes; at most ", kMaxSpecBytes,
                             " are allowed: shorten its lists and labels"));
    return violations;  // the rest could be a list as long as the spec
  }
  CheckUnknownFields(submitted, checker);
  const v1::JobSpec spec = ResolveDefaults(submitted);
  if (!spec.name().empty() && !IsName(spec.name())) {
    checker.Add("name", ViolationReason::kInvalidFormat, absl::StrCat("is ", Shown(spec.name()), "; ", kNameRule));
  }
  CheckLabels("labels", spec.labels(), checker);
  checker.Whole("priority", spec.priority(), -1000, 1000, 0);
  CheckResources(spec.resources(), checker.Beneath("resources"));
  CheckRetry(spec.retry(), checker.Beneath("retry"));
  CheckTimeouts(spec.timeouts(), checker.Beneath("timeouts"));
  checker.KnownEnum("on_disconnect", spec.on_disconnect(), v1::JobSpec::OnDisconnect_IsValid(spec.on_disconnect()));
  switch (spec.workload_case()) {
    case v1::JobSpec::kTraining:
      CheckTraining(spec.training(), checker.Beneath("training"));
      CheckRecording(spec, checker);
      break;
    case v1::JobSpec::kStudy:
      CheckStudy(spec.study(), checker.Beneath("study"));
      break;
    case v1::JobSpec::WORKLOAD_NOT_SET:
      checker.Add("training", ViolationReason::kRequired,
                  "is missing; a job needs a workload, such as training: {model: {mlp: {hidden: [128]}}, data: …}, or "
                  "study: {format_table: {}}");
      break;
  }
  return violations;
}

}  // namespace mantissa::spec
