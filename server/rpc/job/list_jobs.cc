#include "server/rpc/job/list_jobs.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/ids.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status.h"
#include "server/telemetry/telemetry_hub.h"

namespace mantissa::server {
namespace {

// Jobs are read in lots, so that a page of the largest specs is cut at its bytes before all of it is in memory.
constexpr int32_t kLot = 32;

absl::Status CheckFilter(const v1::JobFilter& filter) {
  for (int i = 0; i < filter.states_size(); ++i) {
    if (filter.states(i) == v1::Job::STATE_UNSPECIFIED || !v1::Job::State_IsValid(filter.states(i))) {
      return InvalidField(absl::StrCat("filter.states[", i, "]"), "is not a state of jobs, e.g. RUNNING");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ListJobsPage(Backend& backend, const v1::ListJobsRequest& request, v1::ListJobsResponse& response) {
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
    absl::StatusOr<JobPage> lot = backend.store.ListJobs(kDefaultTenant, request.filter(), before, wanted);
    if (!lot.ok()) return lot.status();
    more = lot->more && !lot->jobs.empty();
    for (size_t i = 0; i < lot->jobs.size(); ++i) {
      v1::Job& job = lot->jobs[i];
      before = job.id();
      if (request.view() != v1::JobView::FULL) job = BasicView(job);
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
