// mantissa doctor.
#pragma once

#include "client/cli/commands/context.h"

namespace mantissa::cli {

// Looks at the machine, and at the server when it can be reached. Exit code: 6 without a server, 1 when something else
// is wrong, 0 else; warnings are 0.
int Doctor(const Context& context);

}  // namespace mantissa::cli
