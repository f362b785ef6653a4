#include "server/rpc/job/read_logs.h"

#include <string>
#include <utility>
#include <vector>

#include "server/core/errors.h"
#include "server/rpc/job/read_job.h"

namespace mantissa::server {
namespace {

constexpr int64_t kFrameBytes = 32 << 10;

bool HasEnded(const v1::Attempt& attempt) {
  return attempt.state() != v1::Attempt::STARTING && attempt.state() != v1::Attempt::RUNNING;
}

}  // namespace

ReadLogsStream::ReadLogsStream(Backend& backend, const grpc::CallbackServerContext& context,
                               const v1::ReadLogsRequest& request)
    : FrameStream(backend, context, "JobService/ReadLogs"), request_(request), offset_(request.offset()) {}

absl::Status ReadLogsStream::Check() const {
  const absl::Status named = CheckJobId(request_.job_id());
  if (!named.ok()) return named;
  if (request_.attempt() < 0) return InvalidField("attempt", "must be 1 or more, or 0 for the newest");
  if (request_.rank() != 0) return InvalidField("rank", "must be 0: attempts have one rank in this release");
  if (request_.offset() < 0) return InvalidField("offset", "must be 0 or more, in bytes");
  if (!v1::LogStream::Name_IsValid(request_.stream())) return InvalidField("stream", "is none; STDOUT or STDERR");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<v1::Attempt>> ReadLogsStream::FindAttempt() {
  absl::StatusOr<std::vector<v1::Attempt>> attempts = backend().store.ListAttempts(request_.job_id());
  if (!attempts.ok()) return attempts.status();
  if (attempt_ == 0) attempt_ = request_.attempt();
  const v1::Attempt* chosen = nullptr;
  for (const v1::Attempt& attempt : *attempts) {
    const bool newer = attempt_ == 0 && (chosen == nullptr || attempt.number() > chosen->number());
    if (newer || attempt.number() == attempt_) chosen = &attempt;
  }
  if (chosen == nullptr) return std::nullopt;
  attempt_ = chosen->number();
  return *chosen;
}

absl::StatusOr<bool> ReadLogsStream::IsComplete(const v1::Attempt& attempt) {
  if (!HasEnded(attempt)) return false;
  bool may_speak = false;
  const absl::Status looked = backend().commit.Look(
      [&](const Scheduler& scheduler, Moment) { may_speak = scheduler.MaySpeak(request_.job_id(), attempt.number()); });
  if (!looked.ok()) return looked;
  return !may_speak;
}

absl::StatusOr<std::optional<v1::ReadLogsResponse>> ReadLogsStream::ReadFrame() {
  const auto stream = request_.stream() == v1::LogStream::NAME_UNSPECIFIED ? v1::LogStream::STDERR : request_.stream();
  absl::StatusOr<LogChunk> chunk =
      backend().blobs.ReadLog({request_.job_id(), attempt_, request_.rank(), stream}, offset_, kFrameBytes);
  if (!chunk.ok()) return chunk.status();
  if (chunk->data.empty()) return std::nullopt;
  v1::ReadLogsResponse frame;
  frame.set_offset(chunk->offset);
  frame.set_attempt(attempt_);
  frame.set_dropped_bytes(chunk->dropped_bytes);
  offset_ = chunk->offset + static_cast<int64_t>(chunk->data.size());
  frame.set_data(std::move(chunk->data));
  return frame;
}

ReadLogsStream::Next ReadLogsStream::Step() {
  if (!subscription_) {
    absl::Status status = Check();
    if (!status.ok()) return status;
    subscription_.emplace(backend().log_signal, request_.job_id(), shared_from_this());
  } else if (attempt_ != 0) {
    // What is there is sent before anybody is asked what the attempt is at: a long log is many frames.
    absl::StatusOr<std::optional<v1::ReadLogsResponse>> frame = ReadFrame();
    if (!frame.ok()) return frame.status();
    if (frame->has_value()) return **std::move(frame);
  }
  // In this order: when nobody may add to the log any more, what is read after it is all there is.
  absl::StatusOr<v1::Job> job = ReadJob(backend(), caller(), request_.job_id());
  if (!job.ok()) return job.status();
  absl::StatusOr<std::optional<v1::Attempt>> attempt = FindAttempt();
  if (!attempt.ok()) return attempt.status();
  if (!attempt->has_value()) {
    const bool may_come = !mantissa::server::HasEnded(job->state()) && request_.follow();
    if (may_come && request_.attempt() == 0) return Sleep{};
    return ErrorWithReason(absl::StatusCode::kNotFound, "ATTEMPT_NOT_FOUND",
                           request_.attempt() == 0
                               ? "attempt: the job has not been tried yet, so there are no logs"
                               : "attempt: the job has no attempt " + std::to_string(request_.attempt()));
  }
  const absl::StatusOr<bool> complete = request_.follow() ? IsComplete(**attempt) : true;
  if (!complete.ok()) return complete.status();
  absl::StatusOr<std::optional<v1::ReadLogsResponse>> frame = ReadFrame();
  if (!frame.ok()) return frame.status();
  if (frame->has_value()) return **std::move(frame);
  return *complete ? Next(absl::OkStatus()) : Next(Sleep{});
}

}  // namespace mantissa::server
