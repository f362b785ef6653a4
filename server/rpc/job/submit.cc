#include "server/rpc/job/submit.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

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

absl::Status CheckTenant(const std::string& tenant) {
  if (tenant.empty()) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kPermissionDenied, "TENANT_NOT_ALLOWED",
                         "tenant: only admins may name one; leave it out, and the job is yours");
}

v1::Job Preview(const v1::JobSpec& spec) {
  v1::Job job;
  job.set_tenant(kDefaultTenant);
  *job.mutable_spec() = spec;
  *job.mutable_resolved_spec() = spec::ResolveDefaults(spec);
  job.set_name(job.resolved_spec().name());
  *job.mutable_labels() = job.resolved_spec().labels();
  return job;
}

// The jobs of a request that the store already knows, in order; nullopt when it knows none. May block.
absl::StatusOr<std::optional<std::vector<std::string>>> FindKnown(Backend& backend, const std::string& request_id,
                                                                  const std::string& request) {
  absl::StatusOr<std::optional<IdempotencyWrite>> known = backend.store.FindIdempotency(kDefaultTenant, request_id);
  if (!known.ok()) return known.status();
  if (!known->has_value()) return std::nullopt;
  const absl::Status same = CheckSameRequest(**known, request);
  if (!same.ok()) return same;
  return std::move((*known)->job_ids);
}

void StoreOne(Backend& backend, UnaryCall* call, const v1::SubmitJobRequest& request,
              const std::optional<v1::Checkpoint>& init_from, v1::Job& job) {
  const process::SteadyTime arrived = backend.clock.Now();
  // Whatever can be made ready here is: the writer's thread is one for all calls.
  std::string text = request.request_id().empty() ? "" : RequestText(request.spec());
  std::vector<std::optional<Scheduler::Submission>> submissions;
  submissions.emplace_back(Scheduler::Submission{request.spec(), spec::ResolveDefaults(request.spec()), init_from});
  call->Commit(
      [&request, &job, text = std::move(text), submissions = std::move(submissions)](Scheduler& scheduler, Moment now,
                                                                                     Changes& changes) mutable {
        auto submitted =
            scheduler.SubmitBatch(std::move(submissions), kDefaultTenant, request.request_id(), text, now, changes);
        if (submitted.ok()) job = *submitted->front();
        return submitted.status();
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
               const std::vector<std::optional<v1::Checkpoint>>& init_from, v1::SubmitJobsResponse& response) {
  std::vector<std::optional<Scheduler::Submission>> submissions(request.specs_size());
  for (int i = 0; i < request.specs_size(); ++i) {
    if (response.outcomes(i).code() != 0) continue;
    submissions[i].emplace(
        Scheduler::Submission{request.specs(i), spec::ResolveDefaults(request.specs(i)), init_from[i]});
  }
  std::string text = request.request_id().empty() ? "" : RequestText(OnlySpecs(request));
  call->ReplyAfterCommit([&request, &response, text = std::move(text), submissions = std::move(submissions)](
                             Scheduler& scheduler, Moment now, Changes& changes) mutable {
    auto jobs = scheduler.SubmitBatch(std::move(submissions), kDefaultTenant, request.request_id(), text, now, changes);
    if (!jobs.ok()) return jobs.status();
    for (size_t i = 0; i < jobs->size(); ++i) {
      const v1::Job* const job = (*jobs)[i];
      if (job == nullptr) continue;
      // What is to be stored has no specs either, and need not be copied with them first.
      const JobWrite* const made = changes.FindJob(job->id());
      *response.mutable_outcomes(static_cast<int>(i))->mutable_job() = made ? made->job : BasicView(*job);
    }
    return absl::OkStatus();
  });
}

// The answer that the first call of this request got. May block.
absl::Status AnswerAgain(Backend& backend, const std::vector<std::string>& job_ids, v1::SubmitJobsResponse& response) {
  for (int i = 0; i < response.outcomes_size() && i < static_cast<int>(job_ids.size()); ++i) {
    if (job_ids[i].empty()) continue;
    absl::StatusOr<v1::Job> job = backend.store.GetJob(job_ids[i], kDefaultTenant);
    if (!job.ok()) return job.status();
    *response.mutable_outcomes(i)->mutable_job() = BasicView(*job);
  }
  return absl::OkStatus();
}

}  // namespace

void SubmitOne(Backend& backend, UnaryCall* call, const v1::SubmitJobRequest& request, v1::Job& job) {
  const absl::Status tenant = CheckTenant(request.tenant());
  if (!tenant.ok()) return call->Reply(tenant);
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
    job = Preview(request.spec());
    return call->Reply(absl::OkStatus());
  }
  if (request.request_id().empty() && !from_a_job) return StoreOne(backend, call, request, std::nullopt, job);

  backend.pool.Post([&backend, call, &request, &job] {
    if (!request.request_id().empty() && !request.validate_only()) {
      auto known = FindKnown(backend, request.request_id(), RequestText(request.spec()));
      if (!known.ok()) return call->Reply(known.status());
      if (known->has_value()) {
        // A batch of one spec may stand under the id; a batch of none can't.
        absl::StatusOr<v1::Job> stored = backend.store.GetJob((*known)->front(), kDefaultTenant);
        if (stored.ok()) job = *std::move(stored);
        return call->Reply(stored.status());
      }
    }
    std::vector<Violation> faults;
    auto init_from = FindInitial(backend, request.spec(), faults);
    if (!init_from.ok()) return call->Reply(init_from.status());
    if (!faults.empty()) return call->Reply(InvalidSpec(faults));
    if (!request.validate_only()) return StoreOne(backend, call, request, *init_from, job);
    job = Preview(request.spec());
    call->Reply(absl::OkStatus());
  });
}

void SubmitMany(Backend& backend, UnaryCall* call, const v1::SubmitJobsRequest& request,
                v1::SubmitJobsResponse& response) {
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
    auto found = FindKnown(backend, request.request_id(), RequestText(OnlySpecs(request)));
    if (!found.ok()) return call->Reply(found.status());
    known = *std::move(found);
  }

  bool any_good = false;
  std::vector<std::optional<v1::Checkpoint>> init_from(faults.size());
  for (int i = 0; i < request.specs_size(); ++i) {
    // What the first call of this request accepted stays accepted, whatever has become of the checkpoint since.
    const bool accepted = known && i < static_cast<int>(known->size()) && !(*known)[i].empty();
    if (faults[i].empty() && !accepted) {
      auto found = FindInitial(backend, request.specs(i), faults[i]);
      if (!found.ok()) return call->Reply(found.status());
      init_from[i] = *std::move(found);
    }
    v1::SubmitOutcome& outcome = *response.add_outcomes();
    if (!faults[i].empty()) {
      SetRefused(faults[i], kMaxViolationBytes / request.specs_size(), outcome);
    } else if (request.validate_only()) {
      *outcome.mutable_job() = BasicView(Preview(request.specs(i)));
    } else {
      any_good = true;
    }
  }
  if (!any_good) return call->Reply(absl::OkStatus());
  if (!known) return StoreMany(call, request, init_from, response);
  call->Reply(AnswerAgain(backend, *known, response));
}

}  // namespace mantissa::server
