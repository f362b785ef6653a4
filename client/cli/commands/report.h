// mantissa report: what a study has found.
#pragma once

#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct ReportOptions {
  std::string job;
  std::string section;  // this table alone; empty: all, or the first where csv has room for one
  std::string png;      // draw it into this file instead; `-`: stdout
  bool force = false;   // replace a file that is there
};

// The finding, its tables and its limits; or one table as csv; or the whole message as JSON or YAML; with -o name the
// names of its tables; or a picture, where the study has one.
int ShowReport(const Context& context, const ReportOptions& options);

}  // namespace mantissa::cli
