#include "server/rpc/job/submit.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "process/access_token.h"
#include "proto/spec/defaults.h"
#include "proto/spec/validate.h"
#include "server/core/errors.h"
#include "server/core/idempotency.h"
#include "server/rpc/job/find_initial.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/status.h"
#include "server/telemetry/telemetry_hub.h"

namespace mantissa::server {
namespace {

using spec::Violation;
using spec::ViolationReason;

constexpr size_t kMaxRequestIdBytes = 36;
// Of all outcomes of a batch together: clients accept 4 MiB, and the message says the first violation once more.
constexpr size_t kMaxViolationBytes = size_t{1} << 20;

// What is wrong with the request around its spec.
std::vector<Violation> CheckRequestId(const std::string& request_id) {
  const bool printable = std::all_of(request_id.begin(), request_id.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (printable && request_id.size() <= kMaxRequestIdBytes) return {};
  return {{"request_id", ViolationReason::kInvalidFormat,
           "must be at most 36 printable ASCII characters without spaces, e.g. a random UUID"}};
}

// Whose the jobs of a submit are.
absl::StatusOr<std::string> TenantOf(const Caller& caller, const std::string& named) {
  if (named.empty() || named == caller.Target()) return caller.Target();
  if (!caller.may_name_tenant) {
    return ErrorWithReason(absl::StatusCode::kPermissionDenied, "TENANT_NOT_ALLOWED",
                           "tenant: only admins may name one; leave it out, and the job is yours");
  }
  if (process::IsAccessName(named)) return named;
  return InvalidField("tenant", "is no name of a tenant: 1 to 63 of a-z, 0-9 and -, e.g. vision");
}

v1::Job Preview(const std::string& tenant, const v1::JobSpec& spec) {
  v1::Job job;
  job.set_tenant(tenant);
  *job.mutable_spec() = spec;
  *job.mutable_resolved_spec() = spec::ResolveDefaults(spec);
  job.set_name(job.resolved_spec().name());
  *job.mutable_labels() = job.resolved_spec().labels();
  return job;
}

// The jobs of a request that the store already knows, in order; nullopt when it knows none. May block.
absl::StatusOr<std::optional<std::vector<std::string>>> FindKnown(Backend& backend, const std::string& tenant,
                                                                  const std::string& request_id,
                                                                  const std::string& request) {
  absl::StatusOr<std::optional<IdempotencyWrite>> known = backend.store.FindIdempotency(tenant, request_id);
  if (!known.ok()) return known.status();
  if (!known->has_value()) return std::nullopt;
  const absl::Status same = CheckSameRequest(**known, request);
  if (!same.ok()) return same;
  return std::move((*known)->job_ids);
}

void StoreOne(Backend& backend, UnaryCall* call, const std::string& tenant, const v1::SubmitJobRequest& request,
              const std::optional<v1::Checkpoint>& init_from, const std::string& trace_id, v1::Job& job) {
  const process::SteadyTime arrived = backend.clock.Now();
  // Whatever can be made ready here is: the writer's thread is one for all calls.
  std::string text = request.request_id().empty() ? "" : RequestText(request.spec());
  std::vector<std::optional<Scheduler::Submission>> submissions;
  *job.mutable_spec() = request.spec();
  *job.mutable_resolved_spec() = spec::ResolveDefaults(request.spec());
  submissions.emplace_back(Scheduler::Prepare(job.spec(), job.resolved_spec(), init_from, trace_id));
  call->Commit(
      [tenant, &request, &job, text = std::move(text), submissions = std::move(submissions)](
          Scheduler& scheduler, Moment now, Changes& changes) mutable {
        auto submitted =
            scheduler.SubmitBatch(std::move(submissions), tenant, request.request_id(), text, now, changes);
        if (!submitted.ok()) return submitted.status();
        const Scheduler::Submitted& stored = submitted->front();
        if (stored.is_new) {
          job.MergeFrom(*stored.head);
        } else {
          job = WithSpecs(*stored.head, *stored.specs);
        }
        return absl::OkStatus();
      },
      [&backend, call, arrived](const absl::Status& status) {
        backend.metrics.submit_seconds.Observe(std::chrono::duration<double>(backend.clock.Now() - arrived).count());
        call->Reply(status);
      });
}

// Says what is wrong in about `most_bytes`, and how much more there is.
void SetRefused(const std::vector<Violation>& violations, size_t most_bytes, v1::SubmitOutcome& outcome) {
  outcome.set_code(static_cast<int>(InvalidSpec(violations).code()));
  std::vector<Violation> said;
  for (size_t bytes = 0; const Violation& violation : violations) {
    if (!said.empty() && bytes > most_bytes) break;
    said.push_back(violation);
    v1::FieldViolation& field = *outcome.add_violations();
    field.set_field(violation.field_path.empty() ? "spec" : violation.field_path);
    field.set_reason(std::string(spec::ReasonName(violation.reason)));
    field.set_description(violation.description);
    bytes += field.ByteSizeLong();
  }
  outcome.set_message(std::string(InvalidSpec(said).message()));
  if (said.size() < violations.size()) {
    outcome.add_violations()->set_description(absl::StrCat("and ", violations.size() - said.size(), " more"));
  }
}

v1::SubmitJobsRequest OnlySpecs(const v1::SubmitJobsRequest& request) {
  v1::SubmitJobsRequest specs;
  *specs.mutable_specs() = request.specs();
  return specs;
}

void StoreMany(UnaryCall* call, const v1::SubmitJobsRequest& request,
               const std::vector<std::optional<v1::Checkpoint>>& init_from, const std::string& trace_id,
               v1::SubmitJobsResponse& response) {
  std::vector<std::optional<Scheduler::Submission>> submissions(request.specs_size());
  for (int i = 0; i < request.specs_size(); ++i) {
    if (response.outcomes(i).code() != 0) continue;
    const v1::JobSpec& spec = request.specs(i);
    submissions[i].emplace(Scheduler::Prepare(spec, spec::ResolveDefaults(spec), init_from[i], trace_id));
  }
  std::string text = request.request_id().empty() ? "" : RequestText(OnlySpecs(request));
  call->ReplyAfterCommit(
      [&tenant = call->caller().Target(), &request, &response, text = std::move(text),
       submissions = std::move(submissions)](Scheduler& scheduler, Moment now, Changes& changes) mutable {
        auto jobs = scheduler.SubmitBatch(std::move(submissions), tenant, request.request_id(), text, now, changes);
        if (!jobs.ok()) return jobs.status();
        for (size_t i = 0; i < jobs->size(); ++i) {
          const v1::Job* const head = (*jobs)[i].head;
          if (head != nullptr) *response.mutable_outcomes(static_cast<int>(i))->mutable_job() = *head;
        }
        return absl::OkStatus();
      });
}

// The answer that the first call of this request got. May block.
absl::Status AnswerAgain(Backend& backend, const std::string& tenant, const std::vector<std::string>& job_ids,
                         v1::SubmitJobsResponse& response) {
  for (int i = 0; i < response.outcomes_size() && i < static_cast<int>(job_ids.size()); ++i) {
    if (job_ids[i].empty()) continue;
    absl::StatusOr<v1::Job> job = backend.store.GetJob(job_ids[i], tenant);
    if (!job.ok()) return job.status();
    *response.mutable_outcomes(i)->mutable_job() = BasicView(*job);
  }
  return absl::OkStatus();
}

}  // namespace

void SubmitOne(Backend& backend, UnaryCall* call, const v1::SubmitJobRequest& request, const std::string& trace_id,
               v1::Job& job) {
  absl::StatusOr<std::string> named = TenantOf(call->caller(), request.tenant());
  if (!named.ok()) return call->Reply(named.status());
  const std::string tenant = *std::move(named);
  std::vector<Violation> violations = CheckRequestId(request.request_id());
  if (!request.has_spec()) {
    violations.push_back({"spec", ViolationReason::kRequired, "is required: the job to run"});
  } else {
    const std::vector<Violation> in_spec = spec::ValidateJobSpec(request.spec());
    violations.insert(violations.end(), in_spec.begin(), in_spec.end());
  }
  if (!violations.empty()) return call->Reply(InvalidSpec(violations));
  const bool from_a_job = request.spec().training().init_from().source_case() == v1::InitFrom::kJobId;
  if (request.validate_only() && !from_a_job) {
    job = Preview(tenant, request.spec());
    return call->Reply(absl::OkStatus());
  }
  if (request.request_id().empty() && !from_a_job) {
    return StoreOne(backend, call, tenant, request, std::nullopt, trace_id, job);
  }

  backend.pool.Post(tenant, [&backend, call, tenant, &request, trace_id, &job] {
    if (!request.request_id().empty() && !request.validate_only()) {
      auto known = FindKnown(backend, tenant, request.request_id(), RequestText(request.spec()));
      if (!known.ok()) return call->Reply(known.status());
      if (known->has_value()) {
        // A batch of one spec may stand under the id; a batch of none can't.
        absl::StatusOr<v1::Job> stored = backend.store.GetJob((*known)->front(), tenant);
        if (stored.ok()) job = *std::move(stored);
        return call->Reply(stored.status());
      }
    }
    std::vector<Violation> faults;
    auto init_from = FindInitial(backend, tenant, request.spec(), faults);
    if (!init_from.ok()) return call->Reply(init_from.status());
    if (!faults.empty()) return call->Reply(InvalidSpec(faults));
    if (!request.validate_only()) return StoreOne(backend, call, tenant, request, *init_from, trace_id, job);
    job = Preview(tenant, request.spec());
    call->Reply(absl::OkStatus());
  });
}

void SubmitMany(Backend& backend, UnaryCall* call, const v1::SubmitJobsRequest& request, const std::string& trace_id,
                v1::SubmitJobsResponse& response) {
  const std::string& tenant = call->caller().Target();
  std::vector<Violation> violations = CheckRequestId(request.request_id());
  if (request.specs().empty() || request.specs_size() > kMaxSpecsInBatch) {
    violations.push_back({"specs", ViolationReason::kOutOfRange,
                          absl::StrCat("has ", request.specs_size(), " specs; a batch has 1 to ", kMaxSpecsInBatch)});
  }
  if (!violations.empty()) return call->Reply(InvalidSpec(violations));

  std::vector<std::vector<Violation>> faults;
  for (const v1::JobSpec& spec : request.specs()) faults.push_back(spec::ValidateJobSpec(spec));
  const bool any_right = std::any_of(faults.begin(), faults.end(), [](const auto& of_spec) { return of_spec.empty(); });
  std::optional<std::vector<std::string>> known;
  if (any_right && !request.validate_only() && !request.request_id().empty()) {
    auto found = FindKnown(backend, tenant, request.request_id(), RequestText(OnlySpecs(request)));
    if (!found.ok()) return call->Reply(found.status());
    known = *std::move(found);
  }

  bool any_good = false;
  std::vector<std::optional<v1::Checkpoint>> init_from(faults.size());
  for (int i = 0; i < request.specs_size(); ++i) {
    // What the first call of this request accepted stays accepted, whatever has become of the checkpoint since.
    const bool accepted = known && i < static_cast<int>(known->size()) && !(*known)[i].empty();
    if (faults[i].empty() && !accepted) {
      auto found = FindInitial(backend, tenant, request.specs(i), faults[i]);
      if (!found.ok()) return call->Reply(found.status());
      init_from[i] = *std::move(found);
    }
    v1::SubmitOutcome& outcome = *response.add_outcomes();
    if (!faults[i].empty()) {
      SetRefused(faults[i], kMaxViolationBytes / request.specs_size(), outcome);
    } else if (request.validate_only()) {
      *outcome.mutable_job() = BasicView(Preview(tenant, request.specs(i)));
    } else {
      any_good = true;
    }
  }
  if (!any_good) return call->Reply(absl::OkStatus());
  if (!known) return StoreMany(call, request, init_from, trace_id, response);
  call->Reply(AnswerAgain(backend, tenant, *known, response));
}

}  // namespace mantissa::server
