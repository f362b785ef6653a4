// mantissa explain: what studies do, and what the fields of specs and reports mean.
#pragma once

#include <string>
#include <vector>

#include "client/cli/console.h"
#include "client/cli/output/output_format.h"

namespace mantissa::cli {

// `path` as in ExplainPath; empty: the list of studies. Asks no server.
int ShowExplanation(const Console& console, OutputFormat format, const std::string& path);

// What a path may begin with, for completion.
std::vector<std::string> ExplainedNames();

}  // namespace mantissa::cli
