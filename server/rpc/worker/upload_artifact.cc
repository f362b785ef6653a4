#include "server/rpc/worker/upload_artifact.h"

#include <utility>

#include "server/core/errors.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/status.h"

namespace mantissa::server {

using process::MutexLock;

namespace {

constexpr char kMethod[] = "WorkerService/UploadArtifact";

}  // namespace

UploadArtifactStream* UploadArtifactStream::Start(Backend& backend, const grpc::CallbackServerContext& context,
                                                  v1::UploadArtifactResponse* response) {
  auto stream = std::make_shared<UploadArtifactStream>(backend, response);
  UploadArtifactStream* const self = stream.get();
  self->Begin(std::move(stream), backend.access.Admit(context, kMethod, backend.clock.Now()).status());
  return self;
}

void UploadArtifactStream::Begin(std::shared_ptr<UploadArtifactStream> self, const absl::Status& refusal) {
  self_ = std::move(self);
  const absl::Status admitted = refusal.ok() ? backend_.open_calls.Add(self_) : refusal;
  Rest(admitted.ok() ? std::nullopt : std::optional(admitted));
}

void UploadArtifactStream::OnReadDone(bool ok) {
  {
    MutexLock lock(mutex_);
    if (finished_) return;
    busy_ = true;
  }
  if (!ok) {
    backend_.pool.Post("", [stream = self_] { stream->Complete(); });
  } else if (writer_) {
    backend_.pool.Post("", [stream = self_] { stream->Append(); });
  } else {
    CheckWanted();
  }
}

void UploadArtifactStream::CheckWanted() {
  if (!message_.has_ref() || !message_.has_artifact()) {
    return Rest(InvalidField(message_.has_ref() ? "artifact" : "ref", "is required in the first message"));
  }
  ref_ = message_.ref();
  artifact_ = message_.artifact();
  SubmitDecision(
      backend_.commit,
      [stream = self_](Scheduler& scheduler, Moment, Changes&) {
        return scheduler.CheckWanted(stream->ref_, stream->artifact_);
      },
      [stream = self_](const absl::Status& status) {
        if (!status.ok()) return stream->Rest(status);
        stream->backend_.pool.Post("", [stream] { stream->Open(); });
      });
}

void UploadArtifactStream::Open() {
  absl::StatusOr<std::unique_ptr<ArtifactWriter>> writer =
      backend_.blobs.WriteArtifact(ref_.job_id(), ref_.attempt(), artifact_);
  if (!writer.ok()) return Rest(writer.status());
  writer_ = *std::move(writer);
  Append();
}

void UploadArtifactStream::Append() {
  const absl::Status appended = writer_->Append(message_.data());
  Rest(appended.ok() ? std::nullopt : std::optional(appended));
}

void UploadArtifactStream::Complete() {
  if (!writer_) return Rest(InvalidField("ref", "is required: the stream ended before its first message"));
  {
    // A client that went in the middle looks like one that is done; the file's sums would tell, but need not be made.
    MutexLock lock(mutex_);
    if (!end_.ok()) writer_.reset();
  }
  if (!writer_) return Rest(absl::CancelledError("the client has gone"));
  const absl::Status whole = writer_->Finish();
  if (!whole.ok()) return Rest(whole);
  Record();
}

void UploadArtifactStream::Record() {
  SubmitDecision(
      backend_.commit,
      [stream = self_](Scheduler& scheduler, Moment now, Changes& changes) {
        return scheduler.RecordArtifact(stream->ref_, stream->artifact_, now, changes);
      },
      [stream = self_](const absl::Status& status) {
        if (status.ok()) *stream->response_.mutable_artifact() = stream->artifact_;
        stream->Rest(status);
      });
}

void UploadArtifactStream::Rest(std::optional<absl::Status> reply) {
  {
    MutexLock lock(mutex_);
    busy_ = false;
    // What was recorded is said even to a client that may have gone.
    if (!end_.ok() && !(reply && reply->ok())) reply = end_;
    finished_ = reply.has_value();
    if (!reply) ++starting_;
  }
  if (reply) return FinishCounted(*reply);
  StartRead(&message_);
  {
    MutexLock lock(mutex_);
    --starting_;
  }
  FinishIfEnded();
}

void UploadArtifactStream::End(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    if (end_.ok()) end_ = status;
  }
  FinishIfEnded();
}

void UploadArtifactStream::FinishIfEnded() {
  absl::Status end;
  {
    MutexLock lock(mutex_);
    if (end_.ok() || busy_ || starting_ > 0 || finished_) return;
    finished_ = true;
    end = end_;
  }
  FinishCounted(end);
}

void UploadArtifactStream::FinishCounted(const absl::Status& status) {
  backend_.rpc_metrics.Count(kMethod, CodeName(status.code()));
  if (ReasonOf(status) == kLeaseLost) backend_.metrics.fence_rejections.Increment();
  Finish(ToGrpcStatus(status));
}

void UploadArtifactStream::OnDone() {
  writer_.reset();
  backend_.open_calls.Remove(self_);
  const auto self = std::move(self_);
}

}  // namespace mantissa::server
