#include "client/cli/commands/fleet.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/table.h"

namespace mantissa::cli {
namespace {

std::string DeviceText(const v1::Device& device) {
  std::string text = device.id();
  if (!device.model().empty()) absl::StrAppend(&text, " (", device.model(), ")");
  return text;
}

std::string StateText(const v1::Worker& worker) {
  if (!worker.connected()) return "away";
  if (worker.draining()) return worker.attempts_size() > 0 || !worker.drain_requested() ? "draining" : "drained";
  return worker.attempts_size() > 0 ? "busy" : "idle";
}

}  // namespace

int Workers(const Context& context) {
  const Console& console = context.console;
  v1::ListWorkersRequest request;
  request.set_page_size(1000);
  std::vector<v1::Worker> workers;
  const absl::Status asked =
      ForEachPage(context.connection, context.connection.admin(), &v1::AdminService::Stub::ListWorkers, request,
                  [&](v1::ListWorkersResponse& response) {
                    for (v1::Worker& worker : *response.mutable_workers()) {
                      workers.push_back(std::move(worker));
                    }
                    return true;
                  });
  if (!asked.ok()) return console.Fail(asked);
  if (IsStructured(context.format)) {
    std::vector<const google::protobuf::Message*> messages;
    for (const v1::Worker& worker : workers) messages.push_back(&worker);
    PrintJson(console, context.format, ToJson("workers", messages));
    return kExitOk;
  }
  if (context.format == OutputFormat::kName) {
    for (const v1::Worker& worker : workers) console.out.Write(worker.id() + "\n");
    return kExitOk;
  }
  if (workers.empty()) {
    console.Note("no worker has connected yet; start one with `mantissa-worker`");
    return kExitOk;
  }
  Table table({"WORKER", "STATE", "LAST SEEN", "HOST", "VERSION", "SANDBOX", "DEVICES", "JOBS"});
  for (const v1::Worker& worker : workers) {
    std::vector<std::string> devices, jobs;
    for (const v1::Device& device : worker.devices()) devices.push_back(DeviceText(device));
    for (const v1::AttemptRef& attempt : worker.attempts()) jobs.push_back(attempt.job_id());
    table.Add({worker.id(), StateText(worker), AgeText(worker.last_seen_time(), console.clock.WallNow()) + " ago",
               worker.host_name(), worker.version(), worker.sandbox_level(), absl::StrJoin(devices, ", "),
               absl::StrJoin(jobs, ", ")});
  }
  console.out.Write(table.Text(console.TableWidth()));
  return kExitOk;
}

int Roots(const Context& context) {
  const Console& console = context.console;
  v1::ListRootsRequest request;
  request.set_page_size(1000);
  v1::ListRootsResponse response;
  const absl::Status asked = ForEachPage(context.connection, context.connection.jobs(),
                                         &v1::JobService::Stub::ListRoots, request, [&](v1::ListRootsResponse& page) {
                                           response.mutable_workers()->MergeFrom(page.workers());
                                           return true;
                                         });
  if (!asked.ok()) return console.Fail(asked);
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, ToJson(response));
    return kExitOk;
  }
  Table table({"ROOT", "WORKER", "ACCESS", ">FREE", "STORAGE"});
  for (const v1::WorkerRoots& worker : response.workers()) {
    for (const v1::Root& root : worker.roots()) {
      table.Add({root.name(), absl::StrCat(worker.worker_id(), worker.connected() ? "" : " (away)"),
                 root.writable() ? "read and write" : "read", root.free_bytes() > 0 ? SizeText(root.free_bytes()) : "",
                 root.storage_id()});
    }
  }
  if (table.empty()) {
    console.Note("no worker reports a root; give one to `mantissa-worker`, such as --root data=/srv/data");
  } else {
    console.out.Write(table.Text(console.TableWidth()));
  }
  return kExitOk;
}

int Drain(const Context& context, const DrainOptions& options) {
  const Console& console = context.console;
  v1::DrainWorkerRequest request;
  request.set_worker_id(options.worker);
  request.set_undo(options.undo);
  v1::Worker worker;
  const absl::Status asked =
      context.connection.Ask(context.connection.admin(), &v1::AdminService::Stub::DrainWorker, request, worker);
  if (!asked.ok()) return console.Fail(asked);
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, ToJson(worker));
  } else if (context.format == OutputFormat::kName) {
    console.out.Write(worker.id() + "\n");
  } else if (options.undo) {
    console.out.Write(absl::StrCat(ForTerminal(worker.id()),
                                   worker.draining() ? " still drains: it was told to stop\n" : " takes work again\n"));
  } else {
    const int count = worker.attempts_size();
    console.out.Write(absl::StrCat(
        ForTerminal(worker.id()), " is drained: it takes no more work",
        count == 0 ? "" : absl::StrCat("; ", count, count == 1 ? " job" : " jobs", " saves and goes on elsewhere"),
        "\n"));
  }
  return kExitOk;
}

}  // namespace mantissa::cli
