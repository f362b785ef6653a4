#include "server/rpc/job/change_job.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

absl::Status AnswerEnded(const v1::Job& job, OnEnded on_ended) {
  if (on_ended == OnEnded::kIsFine) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, kWrongState,
                         absl::StrCat("the job has ended (", v1::Job::State_Name(job.state()),
                                      "), and ends never change; clone it to train it again"));
}

}  // namespace

void ChangeJob(Backend& backend, UnaryCall* call, const std::string& job_id, const std::string& etag, AskOfJob ask,
               OnEnded on_ended, v1::Job& job) {
  // Of a job that has ended the scheduler knows nothing.
  const auto answer_ended = [&backend, call, &job_id, &job, on_ended] {
    absl::StatusOr<v1::Job> read = ReadJob(backend, call->caller(), job_id);
    if (!read.ok()) return read.status();
    job = *std::move(read);
    return AnswerEnded(job, on_ended);
  };
  backend.pool.Post(call->caller().tenant, [&backend, call, &job_id, &etag, ask, on_ended, &job, answer_ended] {
    absl::StatusOr<v1::Job> read = ReadJob(backend, call->caller(), job_id);
    if (!read.ok()) return call->Reply(read.status());
    if (HasEnded(read->state())) {
      job = *std::move(read);
      return call->Reply(AnswerEnded(job, on_ended));
    }
    const auto decide = [&job_id, &etag, ask, &job](Scheduler& scheduler, Moment now, Changes& changes) {
      absl::StatusOr<v1::Job> changed = (scheduler.*ask)(job_id, etag, now, changes);
      if (changed.ok()) job = *std::move(changed);
      return changed.status();
    };
    call->Commit(decide, [call, answer_ended](const absl::Status& status) {
      if (!absl::IsNotFound(status)) return call->Reply(status);
      // It ended between the two looks.
      call->ReplyFromPool(answer_ended);
    });
  });
}

void DeleteOne(Backend& backend, UnaryCall* call, const v1::DeleteJobRequest& request) {
  absl::StatusOr<v1::Job> job = ReadJob(backend, call->caller(), request.job_id());
  if (!job.ok()) return call->Reply(job.status());
  if (!HasEnded(job->state())) {
    return call->Reply(ErrorWithReason(absl::StatusCode::kFailedPrecondition, kWrongState,
                                       absl::StrCat("the job is ", v1::Job::State_Name(job->state()),
                                                    "; cancel it, and delete it when it has ended")));
  }
  if (!request.etag().empty() && request.etag() != job->etag()) {
    return call->Reply(ErrorWithReason(absl::StatusCode::kAborted, kEtagMismatch,
                                       "etag: the job has changed since it was read; read it again"));
  }
  absl::StatusOr<std::vector<v1::Checkpoint>> checkpoints = backend.store.ListCheckpoints(request.job_id());
  if (!checkpoints.ok()) return call->Reply(checkpoints.status());
  JobDeletion deletion{request.job_id(), job->etag(), job->tenant()};
  call->ReplyAfterCommit([deletion = std::move(deletion), checkpoints = *std::move(checkpoints)](
                             Scheduler& scheduler, Moment now, Changes& changes) {
    const absl::Status deleted = scheduler.Delete(deletion, checkpoints, now, changes);
    return absl::IsNotFound(deleted) ? JobNotFound(deletion.job_id) : deleted;
  });
}

}  // namespace mantissa::server
