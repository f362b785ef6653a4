// What is wrong with a spec, one entry a fault.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mantissa::spec {

enum class ViolationReason {
  kRequired,
  kOutOfRange,
  kInvalidFormat,
  kUnknownValue,
  kConflict,       // right by itself, wrong beside another field
  kUnimplemented,  // understood, and not built in this release
};

struct Violation {
  // From the job spec down, as in the .proto files: `training.precision.loss_scale.init`, `labels["a b"]`,
  // `training.model.mlp.hidden[2]`. Empty for the spec as a whole.
  std::string field_path;
  ViolationReason reason = ViolationReason::kRequired;
  // What is wrong, what is allowed, and an example.
  std::string description;
};

// REQUIRED, OUT_OF_RANGE, INVALID_FORMAT, UNKNOWN_VALUE, CONFLICT, UNIMPLEMENTED.
std::string_view ReasonName(ViolationReason reason);

// The spec is right, and asks for something this release does not have.
bool OnlyUnimplemented(const std::vector<Violation>& violations);

}  // namespace mantissa::spec
