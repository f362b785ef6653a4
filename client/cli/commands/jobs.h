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

// INVALID_ARGUMENT, naming the option, for what is no state or no key=value.
absl::StatusOr<v1::JobFilter> FilterOf(const JobFilterOptions& options);

struct ListOptions {
  JobFilterOptions filter;
  int limit = 50;
};

int List(const Context& context, const ListOptions& options);

int Get(const Context& context, const std::string& job);

}  // namespace mantissa::cli
