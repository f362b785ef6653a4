#include "proto/spec/violation.h"

#include <algorithm>

namespace mantissa::spec {

std::string_view ReasonName(ViolationReason reason) {
  switch (reason) {
    case ViolationReason::kRequired:
      return "REQUIRED";
    case ViolationReason::kOutOfRange:
      return "OUT_OF_RANGE";
    case ViolationReason::kInvalidFormat:
      return "INVALID_FORMAT";
    case ViolationReason::kUnknownValue:
      return "UNKNOWN_VALUE";
    case ViolationReason::kConflict:
      return "CONFLICT";
    case ViolationReason::kUnimplemented:
      return "UNIMPLEMENTED";
  }
  return "UNKNOWN_VALUE";
}

bool OnlyUnimplemented(const std::vector<Violation>& violations) {
  return !violations.empty() && std::all_of(violations.begin(), violations.end(), [](const Violation& violation) {
    return violation.reason == ViolationReason::kUnimplemented;
  });
}

}  // namespace mantissa::spec
