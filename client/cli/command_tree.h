// Every command, option and default of `mantissa`, and where parsing puts what was given.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/commands/advise.h"
#include "client/cli/commands/bundle.h"
#include "client/cli/commands/change.h"
#include "client/cli/commands/context.h"
#include "client/cli/commands/download.h"
#include "client/cli/commands/fleet.h"
#include "client/cli/commands/follow.h"
#include "client/cli/commands/health.h"
#include "client/cli/commands/history.h"
#include "client/cli/commands/jobs.h"
#include "client/cli/commands/logs.h"
#include "client/cli/commands/plot.h"
#include "client/cli/commands/records.h"
#include "client/cli/commands/report.h"
#include "client/cli/commands/submit.h"
#include "client/cli/commands/token.h"
#include "client/cli/commands/top.h"
#include "process/settings.h"

namespace mantissa::cli {

// Type names say in the help, and to completion, what stands somewhere.
inline constexpr char kJobType[] = "JOB";
inline constexpr char kFileType[] = "FILE";
inline constexpr char kExplainedType[] = "STUDY[.FIELD...]";

// Not MANTISSA_CONFIG: what is in that is the server's or the worker's on the same machine.
inline constexpr char kConfigVariable[] = "MANTISSA_CLIENT_CONFIG";

struct GlobalOptions {
  std::string address;  // of the flag
  std::string output = "table";
  std::string color = "auto";
  // As the command line gives them; environment and file are asked when it is known.
  process::SettingTexts settings;
  std::chrono::milliseconds rpc_timeout = std::chrono::seconds(10);
};

// The declared tree and what parsing it fills; `app` refers to the rest, so it is neither copied nor moved.
struct CommandTree {
  CommandTree();
  CommandTree(const CommandTree&) = delete;
  CommandTree& operator=(const CommandTree&) = delete;

  CLI::App app{"Submit and watch mixed-precision training jobs.", "mantissa"};
  GlobalOptions global;
  SubmitOptions submit;
  ValidateOptions validate;
  SpecSource precision;
  ListOptions list;
  CancelOptions cancel;
  UpdateOptions update;
  CloneOptions clone;
  DrainOptions drain;
  FollowOptions watch;
  FollowOptions wait;
  LogsOptions logs;
  EventsOptions events;
  HistoryOptions history;
  PlotOptions plot;
  ReportOptions report;
  AdviseOptions advise;
  DownloadOptions download;
  BundleOptions bundle;
  TopOptions top;
  HealthOptions health;
  std::string job;
  std::vector<std::string> jobs;
  TokenOptions token;
  std::string explained;
  std::string shell;
  bool local = false;
  bool server = false;
  // Of the command that was given. Without `calls` it speaks to no server, and leaves the context's connection alone.
  bool calls = true;
  // Empty for `completion`, which is about the tree itself.
  std::function<int(const Context&)> action;
};

}  // namespace mantissa::cli
