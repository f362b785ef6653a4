// What a watcher wants to see of a job's entries.
#pragma once

#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::server {

// True when every entry passes as it is: the stored bytes can be sent on.
bool PassesEverything(const v1::WatchFilter& filter);

// Takes out of `segment` what the filter leaves out; false when nothing is left. Numbers and count stay: the frame
// that carries it covers what was taken out.
bool ApplyFilter(const v1::WatchFilter& filter, v1::Segment& segment);

}  // namespace mantissa::server
