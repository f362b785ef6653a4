// The paragraph of a gradient analysis, from its rows. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "mantissa/v1/report.pb.h"

namespace mantissa::trainer {

// `iterations`: that were sampled.
std::string GradientFinding(const v1::GradientAnalysisReport& report, std::int64_t iterations);

}  // namespace mantissa::trainer
