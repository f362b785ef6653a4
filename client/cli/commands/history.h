// mantissa attempts, events, checkpoints: what happened to a job.
#pragma once

#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

int Attempts(const Context& context, const std::string& job);

struct EventsOptions {
  std::string job;
  std::string min_severity = "info";
};

int Events(const Context& context, const EventsOptions& options);

int Checkpoints(const Context& context, const std::string& job);

}  // namespace mantissa::cli
