// mantissa workers, roots, drain: what the jobs run on.
#pragma once

#include <string>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

int Workers(const Context& context);
int Roots(const Context& context);

struct DrainOptions {
  std::string worker;
  bool undo = false;
};

int Drain(const Context& context, const DrainOptions& options);

}  // namespace mantissa::cli
