// How the agent reaches the server: the one seam behind which gRPC lives.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/worker_service.pb.h"

namespace mantissa::agent {

// One bidirectional stream. Destroying it cancels it; events that are already on their way still come.
template <class Request>
class Stream {
 public:
  virtual ~Stream() = default;
  // At most one write is in flight: the next one only after StreamEvents::written.
  virtual void Write(const Request& request) = 0;
};

// Called on any thread; never two at a time, and nothing after `closed`.
template <class Response>
struct StreamEvents {
  std::function<void()> written;
  std::function<void(Response)> received;
  std::function<void(absl::Status)> closed;  // exactly once, however it ended
};

using TelemetryStream = Stream<v1::PublishTelemetryRequest>;
using LogsStream = Stream<v1::PublishLogsRequest>;

// Gives the next bytes of an artifact, empty at its end.
using ChunkSource = std::function<absl::StatusOr<std::string>()>;

// Two implementations: gRPC, and the one that tests script. Answers come on any thread, each exactly once. Thread-safe.
class ServerLink {
 public:
  virtual ~ServerLink() = default;

  using SyncDone = std::function<void(absl::StatusOr<v1::SynchronizeResponse>)>;
  virtual void Synchronize(const v1::SynchronizeRequest& request, std::chrono::milliseconds deadline,
                           SyncDone done) = 0;

  using CommitDone = std::function<void(absl::StatusOr<v1::CommitCheckpointResponse>)>;
  virtual void CommitCheckpoint(const v1::CommitCheckpointRequest& request, std::chrono::milliseconds deadline,
                                CommitDone done) = 0;

  virtual std::unique_ptr<TelemetryStream> OpenTelemetry(StreamEvents<v1::PublishTelemetryResponse> events) = 0;
  virtual std::unique_ptr<LogsStream> OpenLogs(StreamEvents<v1::PublishLogsResponse> events) = 0;

  // Blocks until the server has the file, or does not want it.
  virtual absl::Status UploadArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact,
                                      const ChunkSource& next) = 0;

  // Later calls go over a new connection.
  virtual void Renew() = 0;

  // Ends everything that is in flight, and every later call at once; when it returns, no callback runs any more.
  virtual void Shutdown() = 0;
};

}  // namespace mantissa::agent
