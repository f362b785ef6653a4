// A table of a report for other programs.
#pragma once

#include <string>

#include "client/cli/report/report_table.h"

namespace mantissa::cli {

// CSV as in RFC 4180, with line feeds: every field under its own name, in its own unit, with all its digits; NaN,
// Infinity and -Infinity as in JSON; nothing where a value is absent. Texts are one line, without control characters.
// Pure.
std::string ReportCsv(const ReportSection& section);

}  // namespace mantissa::cli
