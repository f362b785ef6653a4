// mantissa top: all jobs, devices and the queue.
#pragma once

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct TopOptions {
  bool once = false;
};

// A picture that is kept up to date, on a terminal, until Ctrl-C or q; elsewhere, or `once`, one picture. With a
// structured format one object: address, how many jobs are in which state, and workers, running, waiting, ended.
int Top(const Context& context, const TopOptions& options);

}  // namespace mantissa::cli
