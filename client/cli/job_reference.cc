#include "client/cli/job_reference.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/output/display_text.h"
#include "process/ids.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

absl::StatusOr<v1::Job> ById(Connection& connection, std::string_view id) {
  v1::GetJobRequest request;
  request.set_job_id(std::string(id));
  request.set_view(v1::JobView::BASIC);
  v1::Job job;
  const absl::Status asked = connection.Ask(connection.jobs(), &JobService::Stub::GetJob, request, job);
  if (!asked.ok()) return asked;
  return job;
}

// Characters of a ULID, and no more than one has.
bool MayBeginId(std::string_view text) {
  return !text.empty() && text.size() < 26 &&
         text.find_first_not_of("0123456789abcdefghjkmnpqrstvwxyz") == std::string_view::npos;
}

absl::StatusOr<std::vector<v1::Job>> ByIdPrefix(Connection& connection, std::string_view prefix) {
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  request.set_view(v1::JobView::BASIC);
  std::vector<v1::Job> matches;
  for (int searched = 0; searched < kMaxJobsSearched;) {
    v1::ListJobsResponse response;
    const absl::Status asked = connection.Ask(connection.jobs(), &JobService::Stub::ListJobs, request, response);
    if (!asked.ok()) return asked;
    for (const v1::Job& job : response.jobs()) {
      if (job.id().compare(0, prefix.size(), prefix) == 0) matches.push_back(job);
    }
    searched += std::max(1, response.jobs_size());
    if (response.next_page_token().empty()) break;
    request.set_page_token(response.next_page_token());
  }
  return matches;
}

}  // namespace

absl::StatusOr<v1::Job> FindJob(Connection& connection, std::string_view reference) {
  const std::string shown = absl::StrCat("\"", Clip(ForTerminal(reference), 80), "\"");
  if (reference.empty()) return absl::InvalidArgumentError("a job is needed: its id, the beginning of it, or its name");
  if (process::IsUlid(reference)) return ById(connection, reference);
  v1::ListJobsRequest by_name;
  by_name.set_page_size(1);
  by_name.set_view(v1::JobView::BASIC);
  by_name.mutable_filter()->set_name(std::string(reference));
  v1::ListJobsResponse named;
  const absl::Status asked = connection.Ask(connection.jobs(), &JobService::Stub::ListJobs, by_name, named);
  if (!asked.ok()) return asked;
  if (named.jobs_size() > 0) return named.jobs(0);
  if (MayBeginId(reference)) {
    absl::StatusOr<std::vector<v1::Job>> matches = ByIdPrefix(connection, reference);
    if (!matches.ok()) return matches.status();
    if (matches->size() == 1) return matches->front();
    if (matches->size() > 1) {
      std::vector<std::string> ids;
      for (std::size_t i = 0; i < std::min<std::size_t>(5, matches->size()); ++i) ids.push_back((*matches)[i].id());
      return absl::InvalidArgumentError(
          absl::StrCat(shown, " begins the ids of ", matches->size(), " jobs (", absl::StrJoin(ids, ", "),
                       matches->size() > ids.size() ? ", …" : "", "); write more of the id"));
    }
  }
  return absl::NotFoundError(
      absl::StrCat("there is no job with the id or name ", shown, "; `mantissa list` shows the jobs there are"));
}

std::string JobName(const v1::Job& job) { return job.name().empty() ? job.id() : job.name(); }

}  // namespace mantissa::cli
