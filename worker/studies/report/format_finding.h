// The paragraph of a format table, from its rows. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "mantissa/v1/report.pb.h"

namespace mantissa::trainer {

// `iterations` that the model had trained before its gradients were taken.
std::string FormatFinding(const v1::FormatTableReport& report, std::int64_t iterations, double loss_scale);

}  // namespace mantissa::trainer
