// mantissa cancel, pause, resume, requeue, update, clone, delete: what changes a job, or makes another of it.
#pragma once

#include <string>
#include <vector>

#include "client/cli/commands/context.h"
#include "client/cli/commands/jobs.h"
#include "client/cli/commands/submit.h"

namespace mantissa::cli {

// Each of these asks for every job that is named; the exit code is that of the first that failed.
int Pause(const Context& context, const std::vector<std::string>& jobs);
int Resume(const Context& context, const std::vector<std::string>& jobs);
int Requeue(const Context& context, const std::vector<std::string>& jobs);
int Delete(const Context& context, const std::vector<std::string>& jobs);

struct CancelOptions {
  std::vector<std::string> jobs;
  // Instead of jobs: all that match, in one transaction.
  JobFilterOptions filter;
  bool dry_run = false;  // of a filter: only say which
};

// Each of the jobs, as above; or all that match the filter, or none of them.
int Cancel(const Context& context, const CancelOptions& options);

struct UpdateOptions {
  std::string job;
  std::vector<std::string> overrides;  // path=value, within priority, labels, retry, timeouts
};

int Update(const Context& context, const UpdateOptions& options);

struct CloneOptions {
  std::string job;
  std::vector<std::string> overrides;
  bool from_checkpoint = false;  // begin from its newest finite checkpoint
  SubmitOptions submit;          // but for the source
};

int Clone(const Context& context, const CloneOptions& options);

}  // namespace mantissa::cli
