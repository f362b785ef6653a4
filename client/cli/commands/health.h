// mantissa health: what a probe asks.
#pragma once

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct HealthOptions {
  bool live = false;  // whether the process answers at all, as a server that stands by does
};

// Prints the state that grpc.health.v1 gives the API, and succeeds when it is SERVING; kExitUnavailable else.
int Health(const Context& context, const HealthOptions& options);

}  // namespace mantissa::cli
