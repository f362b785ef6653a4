#include "server/rpc/job/cancel_jobs.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "server/core/job_state.h"
#include "server/rpc/job/list_jobs.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

// One transaction holds the writer, and with it every heartbeat, for as long as it takes; and the answer has no pages.
constexpr size_t kMostCancelled = 10'000;

constexpr int32_t kPage = 1'000;

// The states that a filter asks for, less those that a cancel does not move.
std::set<v1::Job::State> CancellableStates(const v1::JobFilter& filter) {
  std::set<v1::Job::State> states;
  for (int i = 0; i < v1::Job::State_ARRAYSIZE; ++i) {
    const auto state = static_cast<v1::Job::State>(i);
    const bool asked = filter.states().empty() ||
                       std::find(filter.states().begin(), filter.states().end(), i) != filter.states().end();
    if (asked && v1::Job::State_IsValid(i) && IsCancellable(state)) states.insert(state);
  }
  return states;
}

// Newest first, as they are stored by now.
absl::StatusOr<std::vector<std::string>> Find(Backend& backend, const std::string& tenant,
                                              const v1::JobFilter& filter) {
  std::vector<std::string> ids;
  v1::ListJobsRequest request;
  *request.mutable_filter() = filter;
  request.set_page_size(kPage);
  do {
    v1::ListJobsResponse page;
    const absl::Status listed = ListJobsPage(backend, tenant, request, page);
    if (!listed.ok()) return listed;
    for (const v1::Job& job : page.jobs()) ids.push_back(job.id());
    if (ids.size() > kMostCancelled) {
      return InvalidField("filter", absl::StrCat("names more than ", kMostCancelled,
                                                 " jobs, the most that one call cancels; narrow it, for example by "
                                                 "created_before, and call again for the rest"));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return ids;
}

}  // namespace

void CancelMany(Backend& backend, UnaryCall* call, const v1::CancelJobsRequest& request,
                v1::CancelJobsResponse& response) {
  // A message that somebody forgot to fill in must not end everybody's work.
  if (request.filter().ByteSizeLong() == 0) {
    return call->Reply(InvalidField("filter",
                                    "is empty and would name every job; to cancel all of them, give the "
                                    "states QUEUED, STARTING, RUNNING, PAUSING and PAUSED"));
  }
  const absl::Status checked = CheckFilter(request.filter());
  if (!checked.ok()) return call->Reply(checked);
  std::set<v1::Job::State> states = CancellableStates(request.filter());
  if (states.empty()) return call->Reply(absl::OkStatus());
  v1::JobFilter filter = request.filter();
  filter.clear_states();
  for (const v1::Job::State state : states) filter.add_states(state);
  // An admin sees everybody's jobs, and ends those of one tenant at a time.
  absl::StatusOr<std::vector<std::string>> ids = Find(backend, call->caller().Target(), filter);
  if (!ids.ok()) return call->Reply(ids.status());
  call->ReplyAfterCommit([&request, &response, ids = *std::move(ids), states = std::move(states)](
                             Scheduler& scheduler, Moment now, Changes& changes) {
    for (std::string& id : scheduler.CancelThose(ids, states, request.validate_only(), now, changes)) {
      response.add_job_ids(std::move(id));
    }
    return absl::OkStatus();
  });
}

}  // namespace mantissa::server
