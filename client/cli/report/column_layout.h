// Columns on lines of a width.
#pragma once

#include <string>
#include <vector>

#include "client/cli/report/report_table.h"

namespace mantissa::cli {

// Columns that don't fit side by side stand in blocks one below the other, each begun by the columns that say which row
// it is. Headings and sentences are wrapped, nothing is cut: where not even one column fits beside those that begin a
// line, it is longer than `width`. Pure.
std::string LayOut(const std::vector<ReportColumn>& columns, int width);

}  // namespace mantissa::cli
