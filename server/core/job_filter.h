// Which jobs a list or a watch is about, as the stores' SQL says it, too.
#pragma once

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"

namespace mantissa::server {

// Name, all labels, and an instant of creation strictly between the two that are set, compared in microseconds; not the
// states. `filter` has been checked.
bool MatchesButState(const v1::JobFilter& filter, const v1::Job& job);

// All of the filter, its states included.
bool Matches(const v1::JobFilter& filter, const v1::Job& job);

}  // namespace mantissa::server
