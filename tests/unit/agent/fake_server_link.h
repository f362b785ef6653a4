// A server that answers when a test says so.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "process/mutex.h"
#include "worker/agent/link/server_link.h"

namespace mantissa::agent {

template <class Request, class Response>
class FakeStream final : public Stream<Request> {
 public:
  // What the link keeps of a stream after its owner has let it go. Thread-safe.
  struct Side {
    process::Mutex mutex;
    StreamEvents<Response> events;
    std::vector<Request> written ABSL_GUARDED_BY(mutex);
    bool let_go ABSL_GUARDED_BY(mutex) = false;
    bool hold_writes ABSL_GUARDED_BY(mutex) = false;

    std::vector<Request> Written() {
      process::MutexLock lock(mutex);
      return written;
    }
    bool LetGo() {
      process::MutexLock lock(mutex);
      return let_go;
    }
  };

  explicit FakeStream(std::shared_ptr<Side> side) : side_(std::move(side)) {}
  ~FakeStream() override {
    process::MutexLock lock(side_->mutex);
    side_->let_go = true;
  }
  void Write(const Request& request) override {
    bool done = false;
    {
      process::MutexLock lock(side_->mutex);
      side_->written.push_back(request);
      done = !side_->hold_writes;
    }
    if (done) side_->events.written();
  }

 private:
  const std::shared_ptr<Side> side_;
};

using TelemetrySide = FakeStream<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse>::Side;
using LogsSide = FakeStream<v1::PublishLogsRequest, v1::PublishLogsResponse>::Side;

// Thread-safe.
class FakeServerLink final : public ServerLink {
 public:
  struct SyncCall {
    v1::SynchronizeRequest request;
    std::chrono::milliseconds deadline;
    SyncDone done;
  };
  struct CommitCall {
    v1::CommitCheckpointRequest request;
    CommitDone done;
  };
  struct UploadedFile {
    v1::AttemptRef ref;
    v1::Artifact artifact;
    std::string bytes;
  };

  // Calls that wait for an answer; taking one is taking on to answer it.
  std::deque<SyncCall> TakeSyncs();
  std::deque<CommitCall> TakeCommits();
  std::vector<std::shared_ptr<TelemetrySide>> Telemetry();
  std::vector<std::shared_ptr<LogsSide>> Logs();
  std::vector<UploadedFile> Uploads();
  int renewals();
  void FailUploads(absl::Status status);  // OK: no more

  void Synchronize(const v1::SynchronizeRequest& request, std::chrono::milliseconds deadline, SyncDone done) override;
  void CommitCheckpoint(const v1::CommitCheckpointRequest& request, std::chrono::milliseconds deadline,
                        CommitDone done) override;
  std::unique_ptr<TelemetryStream> OpenTelemetry(StreamEvents<v1::PublishTelemetryResponse> events) override;
  std::unique_ptr<LogsStream> OpenLogs(StreamEvents<v1::PublishLogsResponse> events) override;
  absl::Status UploadArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact,
                              const ChunkSource& next) override;
  void Renew() override;
  void Shutdown() override {}

 private:
  process::Mutex mutex_;
  std::deque<SyncCall> syncs_ ABSL_GUARDED_BY(mutex_);
  std::deque<CommitCall> commits_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<TelemetrySide>> telemetry_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<LogsSide>> logs_ ABSL_GUARDED_BY(mutex_);
  std::vector<UploadedFile> uploads_ ABSL_GUARDED_BY(mutex_);
  absl::Status upload_failure_ ABSL_GUARDED_BY(mutex_);
  int renewals_ ABSL_GUARDED_BY(mutex_) = 0;
};

// An attempt of the first job.
v1::AttemptRef MakeRef(const std::string& job_id = "job-1", int attempt = 1);

// `count` records from `first` on, as a trainer makes them.
v1::Segment MakeRecords(std::int64_t first, int count, double loss = 1.0);
v1::Segment MakeEvent(std::int64_t sequence);

}  // namespace mantissa::agent
