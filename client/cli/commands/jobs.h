// mantissa list, get, cancel.
#pragma once

#include <string>
#include <vector>

#include "client/cli/commands/context.h"

namespace mantissa::cli {

struct JobFilterOptions {
  std::vector<std::string> states;  // any of these, as in Job.State, in any case
  std::vector<std::string> labels;  // key=value, all of these
  std::string name;

  bool empty() const { return states.empty() && labels.empty() && name.empty(); }
};

struct ListOptions {
  JobFilterOptions filter;
  int limit = 50;
};

int List(const Context& context, const ListOptions& options);

int Get(const Context& context, const std::string& job);

struct CancelOptions {
  std::vector<std::string> jobs;
  // Instead of jobs: all that match, in one transaction.
  JobFilterOptions filter;
  bool dry_run = false;  // of a filter: only say which
};

// Each of the jobs, and the exit code is that of the first that failed; or all that match the filter, or none of them.
int Cancel(const Context& context, const CancelOptions& options);

}  // namespace mantissa::cli
