// Where an iteration stopped being finite, in words.
#pragma once

#include <string>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::spec {

// `the gradient of head's output (8 Inf of 640)`, with `in micro-batch 2 of 3` where there is more than one: what
// follows `began in`.
std::string LocationWords(const v1::OverflowLocation& location);

// `17 Inf of 1280`, `1 Inf and 5 NaN of 1280`.
std::string CountWords(std::int64_t inf_count, std::int64_t nan_count, std::int64_t element_count);

}  // namespace mantissa::spec
