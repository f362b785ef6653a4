#include "client/cli/advise/study_wait.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "client/cli/advise/study_plan.h"
#include "client/cli/output/display_text.h"
#include "client/cli/rpc_failure.h"
#include "process/ids.h"
#include "proto/spec/study_report.h"

namespace mantissa::cli {
namespace {

using v1::Job;
using v1::JobService;

constexpr std::chrono::milliseconds kAskAgain{500};

constexpr int kKindWidth = 22;
constexpr int kStateWidth = 12;

bool HasEnded(const Job& job) {
  return job.state() == Job::SUCCEEDED || job.state() == Job::FAILED || job.state() == Job::CANCELLED;
}

// `precision_comparison  RUNNING    12 of 36`
std::string LineOf(v1::StudySpec::KindCase kind, const Job& job, const std::string& failure) {
  const std::string head = PadRight(std::string(spec::StudyName(kind)), kKindWidth);
  if (job.id().empty()) return absl::StrCat(head, PadRight("REFUSED", kStateWidth), ForTerminal(failure));
  std::string line = absl::StrCat(head, PadRight(Job::State_Name(job.state()), kStateWidth));
  if (!HasEnded(job) && job.progress().total_iterations() > 0) {
    absl::StrAppend(&line, job.progress().iteration(), " of ", job.progress().total_iterations());
  } else if (job.state() != Job::SUCCEEDED) {
    absl::StrAppend(&line, ForTerminal(job.state_message()));
  }
  return line;
}

}  // namespace

absl::Status StudyWait::Submit(const std::vector<v1::JobSpec>& plan) {
  absl::Status first_refusal;
  for (const v1::JobSpec& spec : plan) {
    Study& study = studies_.emplace_back();
    study.kind = spec.study().kind_case();
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_request_id(process::RandomUuid());
    Connection& connection = context_.connection;
    const absl::Status asked = connection.Ask(connection.jobs(), &JobService::Stub::SubmitJob, request, study.job);
    if (asked.ok()) continue;
    study.job.Clear();
    study.failure = std::string(asked.message());
    if (first_refusal.ok()) first_refusal = asked;
    // Nobody is there, or we may not: the others would be told the same.
    if (!absl::IsInvalidArgument(asked)) {
      CancelAll();
      return asked;
    }
  }
  const bool any = std::any_of(studies_.begin(), studies_.end(), [](const Study& it) { return !it.job.id().empty(); });
  return any ? absl::OkStatus() : first_refusal;
}

absl::Status StudyWait::Run() {
  const process::Clock& clock = context_.console.clock;
  process::SteadyTime heard = clock.Now();
  while (true) {
    const absl::Status asked = Ask();
    if (asked.ok()) {
      heard = clock.Now();
    } else if (!absl::IsUnavailable(asked) || clock.Now() - heard >= retry_for_) {
      CancelAll();
      return asked;
    }
    Show();
    if (AllEnded()) return absl::OkStatus();
    if (stop_.Wait(kAskAgain)) {
      CancelAll();
      return absl::CancelledError("interrupted");
    }
  }
}

absl::Status StudyWait::Ask() {
  v1::ListJobsRequest request;
  (*request.mutable_filter()->mutable_labels())[std::string(kAdviceLabel)] = advice_id_;
  request.set_view(v1::JobView::BASIC);
  request.set_page_size(100);
  v1::ListJobsResponse response;
  Connection& connection = context_.connection;
  const grpc::Status status = connection.Call(connection.jobs(), &JobService::Stub::ListJobs, request, response);
  if (!status.ok()) {
    const absl::Status explained = connection.Explained(status);
    return IsTransient(DecodeFailure(status)) ? absl::UnavailableError(explained.message()) : explained;
  }
  for (Study& study : studies_) {
    if (study.job.id().empty()) continue;
    const auto found = std::find_if(response.jobs().begin(), response.jobs().end(),
                                    [&](const Job& job) { return job.id() == study.job.id(); });
    if (found != response.jobs().end()) {
      study.job = *found;
    } else {
      study.job.set_state(Job::CANCELLED);
      study.job.set_state_message("it was deleted");
    }
  }
  return absl::OkStatus();
}

bool StudyWait::AllEnded() const {
  return std::all_of(studies_.begin(), studies_.end(),
                     [](const Study& study) { return study.job.id().empty() || HasEnded(study.job); });
}

void StudyWait::Show() {
  const Console& console = context_.console;
  const bool redraw = console.err_look.terminal;
  std::string text;
  if (redraw && shown_) text = absl::StrCat("\x1b[", studies_.size(), "A");
  for (Study& study : studies_) {
    std::string line = LineOf(study.kind, study.job, study.failure);
    if (redraw) {
      absl::StrAppend(&text, "\r\x1b[2K", Clip(line, std::max(20, console.width() - 1)), "\n");
    } else if (study.line.substr(0, kKindWidth + kStateWidth) != line.substr(0, kKindWidth + kStateWidth)) {
      // Its state is another one: where nothing is redrawn, cases would be lines without end.
      absl::StrAppend(&text, line, "\n");
    }
    study.line = std::move(line);
  }
  shown_ = true;
  if (!text.empty()) console.err.Write(text);
}

void StudyWait::CancelAll() {
  int left = 0;
  for (Study& study : studies_) {
    if (study.job.id().empty() || HasEnded(study.job)) continue;
    v1::CancelJobRequest request;
    request.set_job_id(study.job.id());
    Connection& connection = context_.connection;
    Job answer;
    const absl::Status asked = connection.Ask(connection.jobs(), &JobService::Stub::CancelJob, request, answer);
    if (!asked.ok()) ++left;
  }
  if (left > 0) {
    context_.console.Note(absl::StrCat(left, " studies could not be cancelled\n  cancel them: mantissa cancel --label ",
                                       std::string(kAdviceLabel), "=", advice_id_, context_.address_flag));
  }
}

std::vector<StudyOutcome> StudyWait::Outcomes() {
  std::vector<StudyOutcome> outcomes;
  for (const Study& study : studies_) {
    StudyOutcome& outcome = outcomes.emplace_back();
    outcome.study = study.kind;
    outcome.job_id = study.job.id();
    if (study.job.id().empty()) {
      outcome.failure = study.failure;
      continue;
    }
    if (study.job.state() != Job::SUCCEEDED) {
      outcome.failure = absl::StrCat(Job::State_Name(study.job.state()), ", ", study.job.state_message());
      continue;
    }
    v1::GetReportRequest request;
    request.set_job_id(study.job.id());
    v1::GetReportResponse response;
    Connection& connection = context_.connection;
    const absl::Status asked = connection.Ask(connection.jobs(), &JobService::Stub::GetReport, request, response);
    if (asked.ok()) {
      outcome.report = std::move(*response.mutable_report());
    } else {
      outcome.failure = std::string(asked.message());
    }
  }
  return outcomes;
}

}  // namespace mantissa::cli
