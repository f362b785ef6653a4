// mantissa history: a job's records, for programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct HistoryOptions {
  std::string job;
  std::vector<std::string> columns;  // as `loss_scale`; none: all
  std::int64_t from = 0;             // sequence; 0: the first
  std::int64_t to = 0;               // 0: the newest
  std::int32_t max_points = 0;       // rows that the records are thinned to; 0: every record
};

// CSV, or with -o json one object. Numbers are exact: read back they are the bits that were stored.
int History(const Context& context, const HistoryOptions& options);

}  // namespace mantissa::cli
