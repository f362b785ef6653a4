// What a worker must be able to do to run a spec, as strings that travel: `model.gpt`, `precision.fp16`, `data.text`.
// A server never assigns a spec to a worker that did not announce all of them: an older trainer would not know the
// field, drop it, and train something else.
#pragma once

#include <string>
#include <vector>

#include "mantissa/v1/job.pb.h"

namespace mantissa::spec {

// Sorted, each once. `spec` has its defaults resolved.
std::vector<std::string> RequiredFeatures(const v1::JobSpec& spec);

// What this release's trainer does, sorted: what a worker announces for it.
const std::vector<std::string>& BuiltFeatures();

// Those of `required` that are not in `announced`.
std::vector<std::string> MissingFeatures(const std::vector<std::string>& required,
                                         const std::vector<std::string>& announced);

}  // namespace mantissa::spec
