#include "server/rpc/job/read_job.h"

#include "process/ids.h"
#include "server/core/errors.h"
#include "server/rpc/status.h"
#include "server/telemetry/telemetry_hub.h"

namespace mantissa::server {

absl::Status CheckJobId(std::string_view job_id) {
  if (process::IsUlid(job_id)) return absl::OkStatus();
  return InvalidField("job_id", job_id.empty() ? "is required: the id that SubmitJob or ListJobs returned"
                                               : "is not a job's id: 26 lower-case letters and digits, as SubmitJob or "
                                                 "ListJobs returned it");
}

absl::Status JobNotFound(const std::string& job_id) {
  return ErrorWithReason(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "job_id: there is no job " + job_id);
}

absl::StatusOr<v1::Job> ReadJob(Backend& backend, const std::string& job_id) {
  const absl::Status named = CheckJobId(job_id);
  if (!named.ok()) return named;
  absl::StatusOr<v1::Job> job = backend.store.GetJob(job_id, kDefaultTenant);
  return absl::IsNotFound(job.status()) ? JobNotFound(job_id) : job;
}

absl::Status FindJob(Backend& backend, const std::string& job_id) { return ReadJob(backend, job_id).status(); }

void ReplyDecorated(UnaryCall* call, v1::Job* job) {
  if (HasEnded(job->state())) return call->Reply(absl::OkStatus());
  call->ReplyFromState([job](const Scheduler& scheduler, Moment now) {
    scheduler.Decorate(*job, now);
    return absl::OkStatus();
  });
}

}  // namespace mantissa::server
