#include "client/cli/commands/history.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/table.h"
#include "client/cli/watch/event_text.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr int kPage = 1000;

// Every item of a list of a job's, whatever page it is on.
template <typename Item, typename Request, typename Response, typename Items>
absl::StatusOr<std::vector<Item>> ListOf(const Context& context, const std::string& reference, Request request,
                                         grpc::Status (JobService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                                  Response*),
                                         Items items) {
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, reference);
  if (!job.ok()) return job.status();
  request.set_job_id(job->id());
  request.set_page_size(kPage);
  std::vector<Item> all;
  const absl::Status asked =
      ForEachPage(context.connection, context.connection.jobs(), method, request, [&](Response& response) {
        for (Item& item : *items(response)) all.push_back(std::move(item));
        return true;
      });
  if (!asked.ok()) return asked;
  return all;
}

template <typename Item>
void PrintItems(const Context& context, const std::string& key, const std::vector<Item>& items) {
  std::vector<const google::protobuf::Message*> messages;
  for (const Item& item : items) messages.push_back(&item);
  PrintJson(context.console, context.format, ToJson(key, messages));
}

}  // namespace

int Attempts(const Context& context, const std::string& job) {
  const Console& console = context.console;
  const auto attempts =
      ListOf<v1::Attempt>(context, job, v1::ListAttemptsRequest(), &JobService::Stub::ListAttempts,
                          [](v1::ListAttemptsResponse& response) { return response.mutable_attempts(); });
  if (!attempts.ok()) return console.Fail(attempts.status());
  if (IsStructured(context.format)) {
    PrintItems(context, "attempts", *attempts);
    return kExitOk;
  }
  Table table({">ATTEMPT", "STATE", "REASON", "WORKER", ">ITERATION", "STARTED", "ENDED", "RESUMED FROM", "MESSAGE"});
  for (const v1::Attempt& attempt : *attempts) {
    std::vector<std::string> workers;
    for (const v1::Placement& placement : attempt.placements()) {
      workers.push_back(absl::StrCat(placement.worker_id(), " ", absl::StrJoin(placement.device_ids(), ",")));
    }
    table.Add({std::to_string(attempt.number()), v1::Attempt::State_Name(attempt.state()),
               attempt.reason() == v1::Reason::REASON_UNSPECIFIED ? "" : v1::Reason::Code_Name(attempt.reason()),
               absl::StrJoin(workers, ", "), std::to_string(attempt.iteration()), LocalDateTime(attempt.start_time()),
               LocalDateTime(attempt.end_time()), attempt.resumed_from(), attempt.message()});
  }
  if (table.empty()) {
    console.Note("no attempt yet");
  } else {
    console.out.Write(table.Text(console.TableWidth()));
  }
  return kExitOk;
}

int Events(const Context& context, const EventsOptions& options) {
  const Console& console = context.console;
  v1::ListEventsRequest request;
  v1::JobEvent::Severity severity = v1::JobEvent::INFO;
  if (!v1::JobEvent::Severity_Parse(absl::AsciiStrToUpper(options.min_severity), &severity)) {
    return console.Fail(absl::InvalidArgumentError("--min-severity is one of info, warning, error"));
  }
  request.set_min_severity(severity);
  const auto events = ListOf<v1::Segment>(context, options.job, request, &JobService::Stub::ListEvents,
                                          [](v1::ListEventsResponse& response) { return response.mutable_events(); });
  if (!events.ok()) return console.Fail(events.status());
  if (IsStructured(context.format)) {
    PrintItems(context, "events", *events);
    return kExitOk;
  }
  Table table({"TIME", "SEVERITY", "EVENT"});
  for (const v1::Segment& segment : *events) {
    const v1::JobEvent& event = segment.event();
    table.Add({LocalDateTime(event.time()), v1::JobEvent::Severity_Name(event.severity()), EventText(event)});
  }
  if (table.empty()) {
    console.Note("no events yet");
  } else {
    console.out.Write(table.Text(0));  // an event is read to its end
  }
  return kExitOk;
}

int Checkpoints(const Context& context, const std::string& job) {
  const Console& console = context.console;
  const auto checkpoints =
      ListOf<v1::Checkpoint>(context, job, v1::ListCheckpointsRequest(), &JobService::Stub::ListCheckpoints,
                             [](v1::ListCheckpointsResponse& response) { return response.mutable_checkpoints(); });
  if (!checkpoints.ok()) return console.Fail(checkpoints.status());
  if (IsStructured(context.format)) {
    PrintItems(context, "checkpoints", *checkpoints);
    return kExitOk;
  }
  Table table(
      {"NAME", ">STEP", ">ITERATION", ">LINEAGE", ">SIZE", "FINITE", "FINAL", "ABANDONED", ">AGE", "STORAGE", "PATH"});
  const auto now = std::chrono::system_clock::now();
  for (const v1::Checkpoint& checkpoint : *checkpoints) {
    table.Add({checkpoint.name(), std::to_string(checkpoint.step()), std::to_string(checkpoint.iteration()),
               std::to_string(std::max(1, checkpoint.lineage())), SizeText(checkpoint.size_bytes()),
               checkpoint.finite() ? "yes" : "NO", checkpoint.final() ? "yes" : "no",
               checkpoint.abandoned() ? "yes" : "no", AgeText(checkpoint.create_time(), now), checkpoint.storage_id(),
               checkpoint.path()});
  }
  if (table.empty()) {
    console.Note("no checkpoint yet");
  } else {
    console.out.Write(table.Text(console.TableWidth()));
  }
  return kExitOk;
}

}  // namespace mantissa::cli
