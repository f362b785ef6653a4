// mantissa describe-precision.
#pragma once

#include "client/cli/commands/context.h"
#include "client/cli/spec/spec_file.h"

namespace mantissa::cli {

// What of a spec's training runs and is kept in which number format, and what that costs; asks no server.
int DescribePrecision(const Context& context, const SpecSource& source);

}  // namespace mantissa::cli
