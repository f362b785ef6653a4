// The parts of the layout benchmark that are decided from its rows alone.
#pragma once

#include <string>

#include "mantissa/v1/report.pb.h"

namespace mantissa::trainer {

// From rows of (shape, precision, layout, times) and the measured peaks: throughput, slowdown against the contiguous
// row of the same product, share of the roofline, and notes. A row faster than its mode's peak raises it. Rows without
// a time stay as they are.
void CompleteLayouts(v1::LayoutBenchmarkReport& report);

// One paragraph, of a report that is complete. Rows that measure launches say nothing of layouts.
std::string LayoutFinding(const v1::LayoutBenchmarkReport& report);

}  // namespace mantissa::trainer
