// mantissa list, get, cancel.
#pragma once

#include <string>
#include <vector>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct ListOptions {
  std::vector<std::string> states;  // any of these, as in Job.State, in any case
  std::vector<std::string> labels;  // key=value, all of these
  std::string name;
  int limit = 50;
};

int List(const Context& context, const ListOptions& options);

int Get(const Context& context, const std::string& job);

// Each of them; the exit code is that of the first that failed.
int Cancel(const Context& context, const std::vector<std::string>& jobs);

}  // namespace mantissa::cli
