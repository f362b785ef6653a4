// mantissa version.
#pragma once

#include <string>

#include "client/cli/console.h"
#include "client/cli/output/output_format.h"

namespace mantissa::cli {

// Of this program: `0.1.0`.
std::string OwnVersion();

int Version(const Console& console, OutputFormat format);

}  // namespace mantissa::cli
