// Whether a job spec can run, and everything that is wrong with it if not. The one place where specs are checked:
// submit, validate_only and `mantissa validate` all call it.
//
// What only a worker can know (files that are missing or damaged, memory that is short) is not checked here.
#pragma once

#include <cstddef>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/violation.h"

namespace mantissa::spec {

inline constexpr std::size_t kMaxSpecBytes = std::size_t{256} << 10;

// All violations at once, in the order of the fields; empty when the spec is good. Takes a spec as submitted or with
// its defaults resolved. Never fails on hostile input.
std::vector<Violation> ValidateJobSpec(const v1::JobSpec& spec);

// Whether the layers of a valid spec's model fit together and these samples: what could not be checked before the files
// were read. The spec has its defaults resolved.
std::vector<Violation> ValidateModelFits(const v1::TrainingSpec& training, const SampleShape& sample);

}  // namespace mantissa::spec
