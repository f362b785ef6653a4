// The paragraph of a scaler study, from its rows. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "mantissa/v1/report.pb.h"

namespace mantissa::trainer {

// `iterations`: the length of each run.
std::string ScalerFinding(const v1::ScalerStudyReport& report, std::int64_t iterations);

}  // namespace mantissa::trainer
