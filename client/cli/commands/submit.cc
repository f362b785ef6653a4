#include "client/cli/commands/submit.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "client/cli/commands/follow.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/rpc_failure.h"
#include "process/ids.h"
#include "proto/spec/defaults.h"
#include "proto/spec/validate.h"

namespace mantissa::cli {
namespace {

constexpr std::chrono::milliseconds kFirstBackoff{200};
constexpr std::chrono::milliseconds kMaxBackoff{2000};

struct Finding {
  SpecProblem problem;
  std::string reason;
};

absl::Status Invalid(const std::string& shown_name, const std::vector<Finding>& findings) {
  std::string text = absl::StrCat(ForTerminal(shown_name), " is not a good job spec (", findings.size(),
                                  findings.size() == 1 ? " fault)" : " faults)");
  for (const Finding& finding : findings) {
    absl::StrAppend(&text, "\n  ", FormatProblem(shown_name, finding.problem),
                    finding.reason.empty() ? "" : absl::StrCat(" [", finding.reason, "]"));
  }
  return absl::InvalidArgumentError(text);
}

std::vector<Finding> FormFindings(const SpecFile& file) {
  std::vector<Finding> findings;
  for (const SpecProblem& problem : file.problems) findings.push_back({problem, ""});
  return findings;
}

// Repeats the call while the server can't be reached: the request id makes that harmless.
grpc::Status SubmitWithRetry(const Context& context, const SubmitOptions& options, const v1::SubmitJobRequest& request,
                             v1::Job& job) {
  const Console& console = context.console;
  const process::SteadyTime give_up = console.clock.Now() + options.retry_for;
  std::chrono::milliseconds backoff = kFirstBackoff;
  bool told = false;
  while (true) {
    Connection& connection = context.connection;
    const grpc::Status status = connection.Call(connection.jobs(), &v1::JobService::Stub::SubmitJob, request, job);
    if (status.ok()) return status;
    const RpcFailure failure = DecodeFailure(status);
    // The answer may have been lost after the job was stored; asking again returns that very job.
    const bool lost_answer = failure.code == grpc::StatusCode::DEADLINE_EXCEEDED && connection.IsConnected();
    const std::chrono::milliseconds wait = std::max(backoff, failure.retry_after.value_or(backoff));
    const bool may_repeat = IsTransient(failure) || lost_answer;
    if (!may_repeat || console.clock.Now() + wait >= give_up) return status;
    if (!told) {
      console.Note(absl::StrCat("no server answers at ", connection.address(), " yet; trying for ",
                                std::chrono::duration_cast<std::chrono::seconds>(options.retry_for).count(), " s"));
    }
    told = true;
    std::this_thread::sleep_for(wait);
    backoff = std::min(2 * backoff, kMaxBackoff);
  }
}

// What the server says of a spec that was read from a file.
absl::Status ExplainedWithLines(const Context& context, const grpc::Status& status, const SpecFile& file) {
  return Explain(
      DecodeFailure(status),
      {.address = context.connection.address(), .connected = context.connection.IsConnected(), .spec = &file});
}

}  // namespace

int Submit(const Context& context, const SubmitOptions& options) {
  return SubmitSpec(context, ReadSpecFile(options.source), options);
}

int SubmitSpec(const Context& context, const SpecFile& file, const SubmitOptions& options) {
  const Console& console = context.console;
  if (!file.problems.empty()) return console.Fail(Invalid(file.shown_name, FormFindings(file)));
  v1::SubmitJobRequest request;
  *request.mutable_spec() = file.spec;
  request.set_request_id(options.request_id.empty() ? process::RandomUuid() : options.request_id);
  v1::Job job;
  const grpc::Status status = SubmitWithRetry(context, options, request, job);
  if (!status.ok()) return console.Fail(ExplainedWithLines(context, status, file));
  if (context.format == OutputFormat::kTable) {
    console.out.Write(absl::StrCat(ForTerminal(JobName(job)), " submitted as job ", job.id(), "\n"));
  } else if (!options.watch) {
    context.format == OutputFormat::kName ? console.out.Write(job.id() + "\n")
                                          : PrintJson(console, context.format, ToJson(job));
  }
  if (options.watch) return WatchSubmitted(context, job, std::chrono::minutes(10));
  if (context.format == OutputFormat::kTable) {
    console.Note(absl::StrCat("  watch it: mantissa watch ", job.id(), context.address_flag));
  }
  return kExitOk;
}

namespace {

std::vector<Finding> LocalFindings(const SpecFile& file) {
  std::vector<Finding> findings;
  for (const spec::Violation& violation : spec::ValidateJobSpec(file.spec)) {
    findings.push_back({{LineOf(file.lines, violation.field_path), violation.field_path, violation.description},
                        std::string(spec::ReasonName(violation.reason))});
  }
  return findings;
}

std::vector<Finding> ServerFindings(const RpcFailure& failure, const SpecFile& file) {
  std::vector<Finding> findings;
  for (const FailureViolation& violation : failure.violations) {
    findings.push_back(
        {{LineOf(file.lines, violation.field), ForTerminal(violation.field), ForTerminal(violation.description)},
         ForTerminal(violation.reason)});
  }
  return findings;
}

int Report(const Context& context, const SpecFile& file, const std::vector<Finding>& findings,
           const v1::JobSpec& resolved, const std::string& checked_by) {
  const Console& console = context.console;
  if (IsStructured(context.format)) {
    nlohmann::ordered_json report = {{"file", file.shown_name}, {"valid", findings.empty()}};
    report["violations"] = nlohmann::ordered_json::array();
    for (const Finding& finding : findings) {
      report["violations"].push_back({{"line", finding.problem.line},
                                      {"field", finding.problem.path},
                                      {"reason", finding.reason},
                                      {"description", finding.problem.message}});
    }
    if (findings.empty()) report["resolved_spec"] = nlohmann::ordered_json::parse(ToJson(resolved));
    // A file's name may hold any bytes.
    const std::string text = report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    PrintJson(console, context.format, text + "\n");
    return findings.empty() ? kExitOk : kExitUsage;
  }
  if (!findings.empty()) return console.Fail(Invalid(file.shown_name, findings));
  console.out.Write(absl::StrCat(ForTerminal(file.shown_name), " is a good job spec (checked ", checked_by, ")\n"));
  return kExitOk;
}

}  // namespace

absl::StatusOr<v1::JobSpec> GoodSpec(const SpecSource& source) {
  const SpecFile file = ReadSpecFile(source);
  if (!file.problems.empty()) return Invalid(file.shown_name, FormFindings(file));
  const std::vector<Finding> findings = LocalFindings(file);
  if (!findings.empty()) return Invalid(file.shown_name, findings);
  return spec::ResolveDefaults(file.spec);
}

int Validate(const Context& context, const ValidateOptions& options) {
  const Console& console = context.console;
  const SpecFile file = ReadSpecFile(options.source);
  if (!file.problems.empty()) return Report(context, file, FormFindings(file), {}, "");
  const std::vector<Finding> findings = LocalFindings(file);
  const v1::JobSpec resolved = spec::ResolveDefaults(file.spec);
  if (!findings.empty() || options.where == ValidateOptions::Where::kLocal) {
    return Report(context, file, findings, resolved, "here");
  }
  Connection& connection = context.connection;
  const bool must = options.where == ValidateOptions::Where::kServer;
  const auto patience = must ? connection.rpc_timeout()
                             : std::min<std::chrono::milliseconds>(connection.rpc_timeout(), std::chrono::seconds(1));
  const bool reached = connection.WaitForConnected(patience);
  if (!reached && !must) {
    console.Note(absl::StrCat("no server answers at ", connection.address(), ": checked by this program alone"));
    return Report(context, file, findings, resolved, "here");
  }
  v1::SubmitJobRequest request;
  *request.mutable_spec() = file.spec;
  request.set_validate_only(true);
  v1::Job job;
  const grpc::Status status = connection.Call(connection.jobs(), &v1::JobService::Stub::SubmitJob, request, job);
  if (!status.ok()) {
    const RpcFailure failure = DecodeFailure(status);
    if (!failure.violations.empty()) return Report(context, file, ServerFindings(failure, file), resolved, "");
    return console.Fail(ExplainedWithLines(context, status, file));
  }
  return Report(context, file, {}, job.has_resolved_spec() ? job.resolved_spec() : resolved, "here and by the server");
}

}  // namespace mantissa::cli
