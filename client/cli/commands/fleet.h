// mantissa workers, roots: what the jobs run on.
#pragma once

#include "client/cli/commands/context.h"

namespace mantissa::cli {

int Workers(const Context& context);
int Roots(const Context& context);

}  // namespace mantissa::cli
