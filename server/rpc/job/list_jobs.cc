#include "server/rpc/job/list_jobs.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/timestamp.pb.h"

#include "server/rpc/page_token.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

// Jobs are read in lots, so that a page of the largest specs is cut at its bytes before all of it is in memory.
constexpr int32_t kLot = 32;

constexpr int kMaxStates = v1::Job::State_ARRAYSIZE - 1;  // there are no more to ask for
constexpr int kMaxLabels = 64;                            // a job has no more

constexpr char kNoInstant[] = "is no instant of the years 1 to 9999, such as 2026-11-24T12:00:00Z";

// From year 1 to 9999, as protobuf has it.
bool IsInstant(const google::protobuf::Timestamp& time) {
  constexpr int64_t kFirst = -62'135'596'800, kLast = 253'402'300'799;
  return time.seconds() >= kFirst && time.seconds() <= kLast && time.nanos() >= 0 && time.nanos() < 1'000'000'000;
}

}  // namespace

absl::Status CheckFilter(const v1::JobFilter& filter) {
  if (filter.states_size() > kMaxStates) {
    return InvalidField("filter.states", absl::StrCat("has ", filter.states_size(), " states; name each once"));
  }
  for (int i = 0; i < filter.states_size(); ++i) {
    if (filter.states(i) == v1::Job::STATE_UNSPECIFIED || !v1::Job::State_IsValid(filter.states(i))) {
      return InvalidField(absl::StrCat("filter.states[", i, "]"), "is not a state of jobs, e.g. RUNNING");
    }
  }
  if (filter.labels_size() > kMaxLabels) {
    return InvalidField("filter.labels", absl::StrCat("has ", filter.labels_size(), " labels; a job has at most ",
                                                      kMaxLabels, ", so none can have them all"));
  }
  if (!IsInstant(filter.created_after())) return InvalidField("filter.created_after", kNoInstant);
  if (!IsInstant(filter.created_before())) return InvalidField("filter.created_before", kNoInstant);
  return absl::OkStatus();
}

absl::Status ListJobsPage(Backend& backend, const std::string& tenant, const v1::ListJobsRequest& request,
                          v1::ListJobsResponse& response) {
  absl::Status checked = CheckFilter(request.filter());
  if (!checked.ok()) return checked;
  if (!v1::JobView::Level_IsValid(request.view())) return InvalidField("view", "is none; BASIC or FULL");
  v1::ListJobsRequest query;
  absl::StatusOr<PageRequest> page = ParsePage(request, query);
  if (!page.ok()) return page.status();

  std::string before = page->after;
  size_t bytes = 0;
  for (bool more = true; more;) {
    const int32_t wanted = std::min(kLot, page->size - response.jobs_size());
    absl::StatusOr<JobPage> lot = backend.store.ListJobs(tenant, request.filter(), before, wanted);
    if (!lot.ok()) return lot.status();
    more = lot->more && !lot->jobs.empty();
    for (size_t i = 0; i < lot->jobs.size(); ++i) {
      v1::Job& job = lot->jobs[i];
      before = job.id();
      if (request.view() != v1::JobView::FULL) {  // as BasicView, which first copies what it then leaves out
        job.clear_spec();
        job.clear_resolved_spec();
      }
      bytes += job.ByteSizeLong();
      *response.add_jobs() = std::move(job);
      const bool full = response.jobs_size() >= page->size || bytes >= kMaxPageBytes;
      if (full) {
        if (more || i + 1 < lot->jobs.size()) response.set_next_page_token(EncodePageToken(before, query));
        return absl::OkStatus();
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace mantissa::server
