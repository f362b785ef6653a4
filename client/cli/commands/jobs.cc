#include "client/cli/commands/jobs.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/lineage_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/table.h"
#include "client/cli/spec/field_names.h"
#include "client/cli/watch/styled_line.h"

namespace mantissa::cli {
namespace {

using v1::Job;
using v1::JobService;

constexpr int kPage = 1000;

std::string ProgressText(const Job& job) {
  if (job.state() == Job::QUEUED && job.queue_position() > 0) return absl::StrCat("#", job.queue_position());
  const v1::JobProgress& progress = job.progress();
  if (progress.iteration() == 0) return "-";
  if (progress.total_iterations() == 0) return std::to_string(progress.iteration());
  return absl::StrCat(100 * std::int64_t{progress.iteration()} / progress.total_iterations(), " %");
}

std::string ListTable(const std::vector<Job>& jobs, const Console& console) {
  Table table({"NAME", "ID", "STATE", ">DONE", ">LOSS", ">AGE", ">SCALE", ">SKIPPED", "MESSAGE"});
  for (const Job& job : jobs) {
    const v1::JobProgress& progress = job.progress();
    table.Add({Clip(ForTerminal(JobName(job)), 24), job.id(), Job::State_Name(job.state()), ProgressText(job),
               progress.has_loss() ? ShortNumber(progress.loss()) : "",
               AgeText(job.create_time(), console.clock.WallNow()),
               progress.has_loss_scale() ? ScaleText(progress.loss_scale()) : "",
               progress.iteration() > 0 ? std::to_string(progress.skipped_iterations()) : "", job.state_message()});
  }
  return table.Text(console.TableWidth());
}

}  // namespace

absl::StatusOr<v1::JobFilter> FilterOf(const JobFilterOptions& options) {
  v1::JobFilter filter;
  filter.set_name(options.name);
  for (const std::string& name : options.states) {
    Job::State state;
    if (!Job::State_Parse(absl::AsciiStrToUpper(name), &state) || state == Job::STATE_UNSPECIFIED) {
      return absl::InvalidArgumentError(absl::StrCat("--state ", ForTerminal(name), ": no such state; write one of ",
                                                     absl::StrJoin(ValueNames(*Job::State_descriptor()), ", ")));
    }
    filter.add_states(state);
  }
  for (const std::string& label : options.labels) {
    const std::size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--label ", ForTerminal(label), " is not key=value; write for example --label team=nlp"));
    }
    (*filter.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return filter;
}

int List(const Context& context, const ListOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::JobFilter> filter = FilterOf(options.filter);
  if (!filter.ok()) return console.Fail(filter.status());
  v1::ListJobsRequest request;
  *request.mutable_filter() = *filter;
  request.set_view(IsStructured(context.format) ? v1::JobView::FULL : v1::JobView::BASIC);
  std::vector<Job> jobs;
  bool more = true;
  while (more && static_cast<int>(jobs.size()) < options.limit) {
    request.set_page_size(std::min(kPage, options.limit - static_cast<int>(jobs.size())));
    v1::ListJobsResponse response;
    const absl::Status asked =
        context.connection.Ask(context.connection.jobs(), &JobService::Stub::ListJobs, request, response);
    if (!asked.ok()) return console.Fail(asked);
    for (Job& job : *response.mutable_jobs()) jobs.push_back(std::move(job));
    request.set_page_token(response.next_page_token());
    more = !response.next_page_token().empty();
  }
  if (IsStructured(context.format)) {
    std::vector<const google::protobuf::Message*> messages;
    for (const Job& job : jobs) messages.push_back(&job);
    PrintJson(console, context.format, ToJson("jobs", messages));
  } else if (context.format == OutputFormat::kName) {
    std::string text;
    std::vector<std::string> told;
    for (const Job& job : jobs) {
      const std::string name = ForTerminal(JobName(job));
      if (std::find(told.begin(), told.end(), name) == told.end()) told.push_back(name);
    }
    for (const std::string& name : told) absl::StrAppend(&text, name, "\n");
    console.out.Write(text);
  } else if (jobs.empty()) {
    console.Note("no jobs");
  } else {
    console.out.Write(ListTable(jobs, console));
  }
  if (more && context.format == OutputFormat::kTable) {
    console.Note(absl::StrCat("there are more; show them with --limit ", 10 * std::int64_t{options.limit}));
  }
  return kExitOk;
}

namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

// `0.9980 STABLE (2 backoffs, 1 growth in 1000 iterations)`
std::string StabilityText(const v1::PrecisionStats& stats) {
  const auto count = [](int number, const std::string& what) {
    return absl::StrCat(number, " ", what, number == 1 ? "" : "s");
  };
  std::string text = stats.has_stability_score() ? absl::StrCat(ShortNumber(stats.stability_score(), 4), " ") : "";
  absl::StrAppend(&text, v1::PrecisionStats::Verdict_Name(stats.verdict()), " (");
  if (stats.has_loss_scale()) {
    absl::StrAppend(&text, count(stats.backoffs(), "backoff"), ", ", count(stats.growths(), "growth"), " in ");
  } else {
    absl::StrAppend(&text, ShortNumber(100 * stats.skipped_ratio(), 3), " % skipped of ");
  }
  absl::StrAppend(&text, count(stats.window(), "iteration"), ")");
  return text;
}

void AddProgress(const Job& job, Rows& rows) {
  const v1::JobProgress& progress = job.progress();
  if (progress.iteration() == 0) return;
  const bool study = job.resolved_spec().has_study();
  rows.emplace_back(study ? "cases" : "iteration",
                    progress.total_iterations() > 0
                        ? absl::StrCat(progress.iteration(), " of ", progress.total_iterations())
                        : std::to_string(progress.iteration()));
  if (!study) {
    rows.emplace_back("applied", absl::StrCat(progress.step(), ", skipped ", progress.skipped_iterations()));
  }
  if (progress.has_loss()) rows.emplace_back("loss", ShortNumber(progress.loss(), 4));
  if (progress.has_loss_scale()) rows.emplace_back("loss scale", ScaleText(progress.loss_scale()));
  if (progress.has_grad_norm()) rows.emplace_back("grad norm", ShortNumber(progress.grad_norm(), 4));
  if (progress.has_learning_rate()) rows.emplace_back("learning rate", ShortNumber(progress.learning_rate(), 4));
  if (progress.has_samples_per_second()) rows.emplace_back("samples/s", CompactCount(progress.samples_per_second()));
  if (progress.has_precision()) rows.emplace_back("stability", StabilityText(progress.precision()));
  if (!progress.worker_id().empty())
    rows.emplace_back("worker", absl::StrCat(progress.worker_id(), " ", progress.device()));
}

void AddResult(const v1::JobResult& result, Rows& rows) {
  if (result.has_eval_accuracy()) rows.emplace_back("eval accuracy", ShortNumber(result.eval_accuracy(), 4));
  if (result.has_eval_perplexity()) rows.emplace_back("eval perplexity", ShortNumber(result.eval_perplexity(), 4));
  if (result.has_eval_loss()) rows.emplace_back("eval loss", ShortNumber(result.eval_loss(), 4));
  if (result.has_training_time()) rows.emplace_back("trained for", SpanText(Seconds(result.training_time())));
  if (result.peak_memory_bytes() > 0) rows.emplace_back("peak memory", SizeText(result.peak_memory_bytes()));
  if (!result.checkpoint().empty()) rows.emplace_back("checkpoint", result.checkpoint());
}

constexpr int kKeyWidth = 17;

// The paragraph of a study's report, on lines that can be read.
std::string FindingText(const Job& job, int width) {
  std::string text;
  if (job.result().finding().empty()) return text;
  for (const std::string& line : WrapWords(ForTerminal(job.result().finding()), std::max(20, width - kKeyWidth))) {
    absl::StrAppend(&text, PadRight(text.empty() ? "finding" : "", kKeyWidth), line, "\n");
  }
  return text;
}

std::string JobText(const Job& job, int width) {
  Rows rows = {{"name", JobName(job)}, {"id", job.id()}, {"state", Job::State_Name(job.state())}};
  if (job.reason() != v1::Reason::REASON_UNSPECIFIED)
    rows.back().second += absl::StrCat(" (", v1::Reason::Code_Name(job.reason()), ")");
  if (!job.state_message().empty()) rows.emplace_back("message", job.state_message());
  if (job.queue_position() > 0) rows.emplace_back("queue", absl::StrCat("position ", job.queue_position()));
  rows.emplace_back("since", LocalDateTime(job.state_time()));
  rows.emplace_back("submitted", LocalDateTime(job.create_time()));
  if (job.has_start_time()) rows.emplace_back("started", LocalDateTime(job.start_time()));
  if (job.has_end_time()) rows.emplace_back("ended", LocalDateTime(job.end_time()));
  if (job.attempt() > 0) rows.emplace_back("attempt", std::to_string(job.attempt()));
  const v1::PrecisionSpec::Mode mode = job.resolved_spec().training().precision().mode();
  if (mode != v1::PrecisionSpec::MODE_UNSPECIFIED) {
    rows.emplace_back("precision", PrecisionText(mode, job.has_lineage() ? job.lineage().precision() : mode,
                                                 job.progress().emulated()));
  }
  if (job.has_lineage()) rows.emplace_back("lineage", LineageText(job.lineage()));
  AddProgress(job, rows);
  AddResult(job.result(), rows);
  if (!job.trace_id().empty()) rows.emplace_back("trace id", job.trace_id());
  std::string text;
  for (const auto& [key, value] : rows) absl::StrAppend(&text, PadRight(key, kKeyWidth), ForTerminal(value), "\n");
  return text + FindingText(job, width);
}

}  // namespace

int Get(const Context& context, const std::string& reference) {
  const Console& console = context.console;
  const absl::StatusOr<Job> found = FindJob(context.connection, reference);
  if (!found.ok()) return console.Fail(found.status());
  v1::GetJobRequest request;
  request.set_job_id(found->id());
  request.set_view(v1::JobView::FULL);
  Job job;
  const absl::Status asked = context.connection.Ask(context.connection.jobs(), &JobService::Stub::GetJob, request, job);
  if (!asked.ok()) return console.Fail(asked);
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, ToJson(job));
  } else if (context.format == OutputFormat::kName) {
    console.out.Write(job.id() + "\n");
  } else {
    console.out.Write(JobText(job, console.width()));
  }
  return kExitOk;
}

}  // namespace mantissa::cli
