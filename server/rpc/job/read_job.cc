#include "server/rpc/job/read_job.h"

#include "absl/strings/str_cat.h"

#include "process/ids.h"
#include "server/core/errors.h"
#include "server/core/thinning.h"
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

absl::Status CheckMaxPoints(int32_t max_points) {
  if (max_points >= 0 && max_points <= kMostPoints) return absl::OkStatus();
  return InvalidField("max_points", absl::StrCat("is ", max_points, "; ask for 1 to ", kMostPoints,
                                                 " rows, or leave it out to have every record"));
}

absl::StatusOr<v1::Job> ReadJob(Backend& backend, const Caller& caller, const std::string& job_id) {
  const absl::Status named = CheckJobId(job_id);
  if (!named.ok()) return named;
  absl::StatusOr<v1::Job> job = backend.store.GetJob(job_id, caller.reach);
  return absl::IsNotFound(job.status()) ? JobNotFound(job_id) : job;
}

absl::Status FindJob(Backend& backend, const Caller& caller, const std::string& job_id) {
  return ReadJob(backend, caller, job_id).status();
}

void ReplyDecorated(UnaryCall* call, v1::Job* job) {
  if (HasEnded(job->state())) return call->Reply(absl::OkStatus());
  call->ReplyFromState([job](const Scheduler& scheduler, Moment now) {
    scheduler.Decorate(*job, now);
    return absl::OkStatus();
  });
}

}  // namespace mantissa::server
