#pragma once

#include <cstdint>

#include "server/core/scheduler.h"
#include "server/program/server_options.h"

namespace mantissa::server {

// What of the operator's settings the scheduler decides by. `epoch` is the one that the store began.
SchedulerOptions SchedulerOptionsOf(const ServerOptions& options, std::int64_t epoch);

}  // namespace mantissa::server
