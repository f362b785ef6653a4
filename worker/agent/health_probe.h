// mantissa-worker health: what a container's health check asks of the worker beside it.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace mantissa::agent {

// OK when the worker that serves /metrics at `metrics_listen` on this machine has its newest call to the server
// answered. UNAVAILABLE when there is none, or when it can't reach its server (jobs that it has train on all the same);
// INVALID_ARGUMENT for an address whose port is not known.
absl::Status AskHealth(const std::string& metrics_listen);

}  // namespace mantissa::agent
