// What is left out of a report that is larger than it may be (spec::kMaxReportBytes). Pure.
#pragma once

#include <cstddef>

#include "mantissa/v1/report.pb.h"

namespace mantissa::trainer {

// Leaves every second row of the largest table out, again and again, until the report has at most `bytes`; the limits
// say of which tables how much is left, and the report is partial. Curves and histograms are far larger than what is
// concluded from them, so they go first.
void KeepWithin(std::size_t bytes, v1::Report& report);

}  // namespace mantissa::trainer
