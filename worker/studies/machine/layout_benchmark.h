// The parts of the layout benchmark that are decided from its rows alone.
#pragma once

#include <string>

#include "mantissa/v1/report.pb.h"
#include "worker/studies/machine/product.h"

namespace mantissa::trainer {

// From rows of (shape, precision, layout, times), the measured peaks and what calls cost: throughput, slowdown against
// the contiguous row of the same product, share of the roofline, and notes. A row faster than its mode's peak raises
// it. Rows without a time stay as they are; those that measure a launch have a note, and nothing that follows from a
// time.
void CompleteLayouts(const CallSeconds& calls, v1::LayoutBenchmarkReport& report);

// One paragraph, of a report that is complete.
std::string LayoutFinding(const v1::LayoutBenchmarkReport& report);

}  // namespace mantissa::trainer
