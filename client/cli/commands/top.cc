#include "client/cli/commands/top.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <nlohmann/json.hpp>

#include "client/cli/commands/pages.h"
#include "client/cli/output/message_text.h"
#include "client/cli/top/top_session.h"
#include "client/cli/top/top_view.h"

namespace mantissa::cli {
namespace {

// Wide enough for every column: text that no terminal shows has no edge.
constexpr int kPlainWidth = 240;

std::string StateJson(const TopState& state) {
  nlohmann::json json = {{"address", state.address}, {"jobs", nlohmann::json::object()}};
  for (const auto& [is, count] : state.live) json["jobs"][v1::Job::State_Name(is)] = count;
  const auto add = [&json](const std::string& key, const std::vector<const google::protobuf::Message*>& messages) {
    json.update(nlohmann::json::parse(ToJson(key, messages)));
  };
  std::vector<const google::protobuf::Message*> workers, running, waiting, ended;
  for (const v1::Worker& worker : state.workers) workers.push_back(&worker);
  for (const RunningJob& job : state.running) running.push_back(&job.job);
  for (const v1::Job& job : state.waiting) waiting.push_back(&job);
  for (const v1::Job& job : state.ended) ended.push_back(&job);
  add("workers", workers);
  add("running", running);
  add("waiting", waiting);
  add("ended", ended);
  return json.dump(2) + "\n";
}

// Everything that is live, and the newest that is not.
absl::StatusOr<TopState> ReadOnce(const Context& context) {
  Connection& connection = context.connection;
  TopModel model(connection.address());
  const auto add = [&model](v1::ListJobsResponse& page) {
    model.AddListed(page);
    return true;
  };
  v1::ListJobsRequest live;
  *live.mutable_filter() = LiveJobs();
  live.set_page_size(1000);
  absl::Status asked = ForEachPage(connection, connection.jobs(), &v1::JobService::Stub::ListJobs, live, add);
  v1::ListJobsResponse ended;
  if (asked.ok()) asked = connection.Ask(connection.jobs(), &v1::JobService::Stub::ListJobs, EndedJobs(), ended);
  model.AddListed(ended);
  v1::ListWorkersResponse workers;
  if (asked.ok()) {
    asked = connection.Ask(connection.admin(), &v1::AdminService::Stub::ListWorkers, AllWorkers(), workers);
  }
  model.SetWorkers(workers);
  if (!asked.ok()) return asked;
  return model.State(context.console.clock.WallNow(), std::numeric_limits<std::size_t>::max());
}

int Follow(const Context& context) {
  // A server that can't be reached at all is told as by every command, before the terminal and Ctrl-C are taken.
  Connection& connection = context.connection;
  v1::ListWorkersResponse workers;
  const absl::Status asked =
      connection.Ask(connection.admin(), &v1::AdminService::Stub::ListWorkers, AllWorkers(), workers);
  if (!asked.ok()) return context.console.Fail(asked);
  return TopSession(connection, context.console, workers).Run();
}

}  // namespace

int Top(const Context& context, const TopOptions& options) {
  const Console& console = context.console;
  const bool picture = context.format == OutputFormat::kTable;
  if (picture && console.out_look.terminal && !options.once) return Follow(context);
  const absl::StatusOr<TopState> state = ReadOnce(context);
  if (!state.ok()) return console.Fail(state.status());
  if (context.format == OutputFormat::kName) {
    for (const RunningJob& job : state->running) console.out.Write(job.job.id() + "\n");
    for (const v1::Job& job : state->waiting) console.out.Write(job.id() + "\n");
    return kExitOk;
  }
  if (!picture) {
    PrintJson(console, context.format, StateJson(*state));
    return kExitOk;
  }
  const ViewOptions view = {.width = console.out_look.terminal ? console.width() : kPlainWidth,
                            .color = console.out_look.color,
                            .utf8 = console.utf8};
  console.out.Write(absl::StrCat(absl::StrJoin(RenderTop(*state, view), "\n"), "\n"));
  return kExitOk;
}

}  // namespace mantissa::cli
