// The `mantissa` command: flags in, one command run, an exit code out.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "client/cli/console.h"
#include "process/clock.h"
#include "process/settings.h"

namespace mantissa::cli {

// What the process was given, so that a test can give something else.
struct Surroundings {
  Output& out;
  Output& err;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  std::function<int()> width;
  process::Environment environment;
  const process::Clock& clock;
};

// `arguments` without the program's name.
int RunCommandLine(const std::vector<std::string>& arguments, const Surroundings& surroundings);

}  // namespace mantissa::cli
