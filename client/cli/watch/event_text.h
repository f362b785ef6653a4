// Events of a job in words.
#pragma once

#include <string>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// One line, as it is, in UTF-8 and fit for a terminal: `iteration 3 skipped: overflow, first in head.weight (17 Inf of
// 1280); scale 32768 → 16384`. What this release knows is told from the event's detail, anything else by its message.
std::string EventText(const v1::JobEvent& event);

// `records 120 to 180 are lost: the worker died`.
std::string GapText(const v1::Segment& segment);

}  // namespace mantissa::cli
