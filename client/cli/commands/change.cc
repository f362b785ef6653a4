#include "client/cli/commands/change.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/spec/spec_override.h"
#include "process/ids.h"

namespace mantissa::cli {
namespace {

using v1::Job;
using v1::JobService;

// The first failure, and then what has become of the others.
template <typename Ask>
int ForEachJob(const Context& context, const std::vector<std::string>& references, Ask ask) {
  const Console& console = context.console;
  int code = kExitOk;
  std::vector<Job> changed;
  for (const std::string& reference : references) {
    absl::StatusOr<Job> job = FindJob(context.connection, reference);
    if (job.ok()) job = ask(*job);
    if (job.ok()) {
      changed.push_back(*std::move(job));
      continue;
    }
    const int failed = console.Fail(job.status());
    if (code == kExitOk) code = failed;
  }
  if (IsStructured(context.format)) {
    std::vector<const google::protobuf::Message*> messages;
    for (const Job& job : changed) messages.push_back(&job);
    PrintJson(console, context.format, ToJson("jobs", messages));
    return code;
  }
  for (const Job& job : changed) {
    console.out.Write(
        context.format == OutputFormat::kName
            ? job.id() + "\n"
            : absl::StrCat(ForTerminal(JobName(job)), " (", job.id(), ") is ", Job::State_Name(job.state()), "\n"));
  }
  return code;
}

template <typename Request, typename Stub, typename Method>
int AskEach(const Context& context, Stub& stub, Method method, const std::vector<std::string>& references) {
  return ForEachJob(context, references, [&](const Job& found) -> absl::StatusOr<Job> {
    Request request;
    request.set_job_id(found.id());
    Job job;
    const absl::Status asked = context.connection.Ask(stub, method, request, job);
    if (!asked.ok()) return asked;
    return job;
  });
}

int CancelMatching(const Context& context, const CancelOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::JobFilter> filter = FilterOf(options.filter);
  if (!filter.ok()) return console.Fail(filter.status());
  v1::CancelJobsRequest request;
  *request.mutable_filter() = *filter;
  request.set_validate_only(options.dry_run);
  v1::CancelJobsResponse response;
  const absl::Status asked =
      context.connection.Ask(context.connection.jobs(), &JobService::Stub::CancelJobs, request, response);
  if (!asked.ok()) return console.Fail(asked);
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, ToJson(response));
    return kExitOk;
  }
  for (const std::string& id : response.job_ids()) console.out.Write(ForTerminal(id) + "\n");
  if (context.format == OutputFormat::kTable) {
    const int count = response.job_ids_size();
    console.Note(absl::StrCat(options.dry_run ? "would cancel " : "cancelled ", count, count == 1 ? " job" : " jobs"));
  }
  return kExitOk;
}

// With its specs.
absl::StatusOr<Job> GetWhole(const Context& context, const std::string& reference) {
  const absl::StatusOr<Job> found = FindJob(context.connection, reference);
  if (!found.ok()) return found.status();
  v1::GetJobRequest request;
  request.set_job_id(found->id());
  request.set_view(v1::JobView::FULL);
  Job job;
  const absl::Status asked = context.connection.Ask(context.connection.jobs(), &JobService::Stub::GetJob, request, job);
  if (!asked.ok()) return asked;
  return job;
}

// A stored spec with what --set replaces in it.
SpecFile Overridden(const Job& job, const std::vector<std::string>& overrides) {
  SpecFile file;
  file.shown_name = absl::StrCat("job ", job.id());
  file.spec = job.spec();
  for (const std::string& assignment : overrides) ApplyOverride(assignment, file.spec, file.problems, file.lines);
  return file;
}

}  // namespace

int Pause(const Context& context, const std::vector<std::string>& jobs) {
  return AskEach<v1::PauseJobRequest>(context, context.connection.jobs(), &JobService::Stub::PauseJob, jobs);
}

int Resume(const Context& context, const std::vector<std::string>& jobs) {
  return AskEach<v1::ResumeJobRequest>(context, context.connection.jobs(), &JobService::Stub::ResumeJob, jobs);
}

int Requeue(const Context& context, const std::vector<std::string>& jobs) {
  return AskEach<v1::RequeueJobRequest>(context, context.connection.admin(), &v1::AdminService::Stub::RequeueJob, jobs);
}

int Cancel(const Context& context, const CancelOptions& options) {
  const bool filtered = !options.filter.empty();
  if (filtered == !options.jobs.empty()) {
    return context.console.Fail(
        absl::InvalidArgumentError(filtered ? "give either jobs or a filter (--state, --label, --name), not both"
                                            : "name the jobs to cancel, or give a filter: --state, --label, --name"));
  }
  if (options.dry_run && !filtered) {
    return context.console.Fail(
        absl::InvalidArgumentError("--dry-run: says what a filter names; give --state, --label or --name"));
  }
  if (filtered) return CancelMatching(context, options);
  return AskEach<v1::CancelJobRequest>(context, context.connection.jobs(), &JobService::Stub::CancelJob, options.jobs);
}

int Delete(const Context& context, const std::vector<std::string>& references) {
  const Console& console = context.console;
  int code = kExitOk;
  for (const std::string& reference : references) {
    const absl::StatusOr<Job> found = FindJob(context.connection, reference);
    absl::Status asked = found.status();
    if (found.ok()) {
      v1::DeleteJobRequest request;
      request.set_job_id(found->id());
      v1::DeleteJobResponse response;
      asked = context.connection.Ask(context.connection.jobs(), &JobService::Stub::DeleteJob, request, response);
    }
    if (!asked.ok()) {
      const int failed = console.Fail(asked);
      if (code == kExitOk) code = failed;
    } else if (context.format == OutputFormat::kName) {
      console.out.Write(found->id() + "\n");
    } else if (!IsStructured(context.format)) {
      console.out.Write(absl::StrCat(ForTerminal(JobName(*found)), " (", found->id(), ") is deleted\n"));
    }
  }
  if (IsStructured(context.format)) PrintJson(console, context.format, ToJson(v1::DeleteJobResponse()));
  return code;
}

int Update(const Context& context, const UpdateOptions& options) {
  const absl::StatusOr<Job> job = GetWhole(context, options.job);
  if (!job.ok()) return context.console.Fail(job.status());
  const SpecFile file = Overridden(*job, options.overrides);
  if (!file.problems.empty()) {
    return context.console.Fail(absl::InvalidArgumentError(FormatProblem(file.shown_name, file.problems.front())));
  }
  v1::UpdateJobRequest request;
  request.set_job_id(job->id());
  request.set_etag(job->etag());
  *request.mutable_spec() = file.spec;
  std::set<std::string> roots;
  for (const std::string& assignment : options.overrides) {
    roots.insert(std::string(absl::StripAsciiWhitespace(assignment.substr(0, assignment.find_first_of(".=")))));
  }
  for (const std::string& root : roots) request.mutable_update_mask()->add_paths(root);
  Job updated;
  const absl::Status asked =
      context.connection.Ask(context.connection.jobs(), &JobService::Stub::UpdateJob, request, updated);
  if (!asked.ok()) return context.console.Fail(asked);
  if (IsStructured(context.format)) {
    PrintJson(context.console, context.format, ToJson(updated));
  } else {
    context.console.out.Write(context.format == OutputFormat::kName
                                  ? updated.id() + "\n"
                                  : absl::StrCat(ForTerminal(JobName(updated)), " (", updated.id(),
                                                 ") is updated; its spec is revision ", updated.spec_revision(), "\n"));
  }
  return kExitOk;
}

int Clone(const Context& context, const CloneOptions& options) {
  const absl::StatusOr<Job> job = GetWhole(context, options.job);
  if (!job.ok()) return context.console.Fail(job.status());
  if (options.from_checkpoint && job->resolved_spec().has_study()) {
    return context.console.Fail(
        absl::FailedPreconditionError("--from-checkpoint: a study keeps no checkpoints; leave it out to run it again"));
  }
  SpecFile file = Overridden(*job, options.overrides);
  if (!options.submit.source.name.empty()) file.spec.set_name(options.submit.source.name);
  if (options.from_checkpoint) file.spec.mutable_training()->mutable_init_from()->set_job_id(job->id());
  return SubmitSpec(context, file, options.submit);
}

}  // namespace mantissa::cli
