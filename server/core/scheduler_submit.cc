// What makes jobs: submit, once and only once.
#include "absl/strings/str_cat.h"

#include "process/ids.h"
#include "server/core/errors.h"
#include "server/core/idempotency.h"
#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

// Longer than any read of the store may lag behind a commit, at any rate that a disk can follow.
constexpr size_t kRecentRequests = 65'536;
constexpr size_t kRecentBytes = size_t{32} << 20;

}  // namespace

absl::StatusOr<v1::Job> Scheduler::Submit(const v1::JobSpec& spec, const v1::JobSpec& resolved,
                                          const std::string& tenant, const std::string& request_id, Moment now,
                                          Changes& changes) {
  const std::string request = request_id.empty() ? std::string() : RequestText(spec);
  auto jobs = SubmitBatch({Prepare(spec, resolved)}, tenant, request_id, request, now, changes);
  if (!jobs.ok()) return jobs.status();
  return WithSpecs(*jobs->front().head, *jobs->front().specs);
}

Scheduler::Submission Scheduler::Prepare(const v1::JobSpec& spec, const v1::JobSpec& resolved,
                                         std::optional<v1::Checkpoint> init_from, const std::string& trace_id) {
  Submission submission{.head = {},
                        .specs = EncodeSpecs(spec, resolved),
                        .terms = TermsOf(resolved),
                        .needs = NeedsOf(resolved),
                        .init = resolved.training().init_from(),
                        .init_from = std::move(init_from)};
  submission.head.set_name(resolved.name());
  *submission.head.mutable_labels() = resolved.labels();
  submission.head.set_spec_revision(1);
  submission.head.set_trace_id(trace_id);
  return submission;
}

absl::StatusOr<std::vector<Scheduler::Submitted>> Scheduler::SubmitBatch(
    std::vector<std::optional<Submission>> submissions, const std::string& tenant, const std::string& request_id,
    const std::string& request, Moment now, Changes& changes) {
  State& s = *state_;
  if (!request_id.empty()) {
    auto known = s.recent_requests.find({tenant, request_id});
    if (known != s.recent_requests.end()) return s.Repeat(known->second, request);
  }
  if (s.queue.size() + static_cast<int64_t>(submissions.size()) > s.options.max_queued_jobs) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, kQueueFull,
                           absl::StrCat("the queue is full (", s.options.max_queued_jobs, " jobs); try again later"));
  }
  if (s.queue.SizeOf(tenant) + static_cast<int64_t>(submissions.size()) > s.options.max_queued_jobs_per_tenant) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, kTenantQueueFull,
                           absl::StrCat("tenant ", tenant, " has as many jobs in the queue as it may (",
                                        s.options.max_queued_jobs_per_tenant, "); try again when some have run"));
  }

  // Before anything is made: all or none.
  std::vector<std::optional<v1::Checkpoint>> initial(submissions.size());
  for (size_t i = 0; i < submissions.size(); ++i) {
    if (!submissions[i] || !submissions[i]->init_from) continue;
    auto confirmed = s.ConfirmInitial(submissions[i]->init, *submissions[i]->init_from);
    if (!confirmed.ok()) return confirmed.status();
    initial[i] = *std::move(confirmed);
  }

  std::vector<Submitted> made;
  made.reserve(submissions.size());
  IdempotencyWrite write{tenant, request_id, request, {}};
  for (size_t i = 0; i < submissions.size(); ++i) {
    std::optional<Submission>& submission = submissions[i];
    if (!submission) {
      made.emplace_back();
      write.job_ids.emplace_back();
      continue;
    }
    const std::string id = s.ids.job_id(now.wall);
    JobEntry& entry = s.jobs[id];
    entry.job = std::move(submission->head);
    entry.specs = std::move(submission->specs);
    entry.terms = submission->terms;
    entry.needs = std::move(submission->needs);
    v1::Job& job = entry.job;
    job.set_id(id);
    job.set_tenant(tenant);
    if (job.trace_id().empty()) job.set_trace_id(process::HexEncode(s.ids.token()));
    Set(job.mutable_create_time(), now.wall);
    if (initial[i]) *job.mutable_init_from() = *initial[i];
    s.Pin(job);
    entry.times_at = now.steady;
    entry.ready_at = now.steady;
    const Because submitted{v1::Reason::WAITING_FOR_WORKER, "submitted"};
    s.Move(entry, {v1::Job::QUEUED, v1::Attempt::STATE_UNSPECIFIED}, Mover::kUser, submitted, {}, now, changes);
    changes.PutSpecs(id, entry.specs);
    s.Enqueue(entry, now);
    made.push_back({&job, &entry.specs, /*is_new=*/true});
    write.job_ids.push_back(id);
  }
  if (!request_id.empty()) {
    s.Remember(write);
    changes.idempotency.push_back(std::move(write));
  }
  return made;
}

absl::StatusOr<std::vector<Scheduler::Submitted>> Scheduler::State::Repeat(const IdempotencyWrite& known,
                                                                           const std::string& request) const {
  absl::Status same = CheckSameRequest(known, request);
  if (!same.ok()) return same;
  std::vector<Submitted> result;
  for (const std::string& id : known.job_ids) {
    if (id.empty()) {
      result.emplace_back();
      continue;
    }
    auto entry = jobs.find(id);
    // It has ended meanwhile, so it was stored before: the next try finds request and job there.
    if (entry == jobs.end()) return absl::UnavailableError("the request is being answered; try again");
    result.push_back({&entry->second.job, &entry->second.specs, /*is_new=*/false});
  }
  return result;
}

void Scheduler::State::Remember(const IdempotencyWrite& write) {
  const std::pair<std::string, std::string> key(write.tenant, write.request_id);
  recent_requests.emplace(key, write);
  recent_order.push_back(key);
  recent_bytes += write.request.size();
  while (recent_order.size() > kRecentRequests || recent_bytes > kRecentBytes) {
    auto oldest = recent_requests.find(recent_order.front());
    recent_bytes -= oldest->second.request.size();
    recent_requests.erase(oldest);
    recent_order.pop_front();
  }
}

}  // namespace mantissa::server
