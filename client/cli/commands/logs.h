// mantissa logs.
#pragma once

#include <cstdint>
#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct LogsOptions {
  std::string job;
  int attempt = 0;  // 0: the newest
  std::string stream = "stderr";
  std::int64_t offset = 0;
  bool follow = false;
};

// What the trainer wrote, as it is; control characters are replaced where stdout is a terminal.
int Logs(const Context& context, const LogsOptions& options);

}  // namespace mantissa::cli
