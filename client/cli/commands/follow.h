// mantissa watch, mantissa wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/commands/context.h"
#include "client/cli/watch/watch_session.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

struct FollowOptions {
  std::string job;
  bool from_now = false;
  std::string cursor;
  // Nothing: as many as a picture of the run needs, or for -o json and yaml every record.
  std::optional<std::int32_t> max_points;
  std::optional<std::chrono::milliseconds> timeout;
  std::chrono::milliseconds retry_for = std::chrono::minutes(10);
};

// Block, lines or frames until the job ends, then what came out. Exit code: the job's.
int Watch(const Context& context, const FollowOptions& options);

// Nothing until the job ends or the timeout (exit 7); then the job.
int Wait(const Context& context, const FollowOptions& options);

// The watch of a job that was just submitted. With a structured format the only thing on stdout is the ended job.
int WatchSubmitted(const Context& context, const v1::Job& job, std::chrono::milliseconds retry_for);

}  // namespace mantissa::cli
