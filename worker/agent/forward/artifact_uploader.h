// Sends the files that the server asks for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"

#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "process/roots.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/backoff.h"
#include "worker/agent/forward/work_thread.h"
#include "worker/agent/inbox.h"
#include "worker/agent/link/server_link.h"

namespace mantissa::agent {

// SHA-256 of what is left of a file, lower-case hex.
absl::StatusOr<std::string> HashFile(int fd);

// Where a trainer says that a file of its lies. It is not believed: a trainer gone bad would have another's checkpoint
// handed to its own tenant.
struct ArtifactPlace {
  std::string tenant;
  std::string path;  // relative to the tenant's root of checkpoints, and beneath the folder of the job
};

// Opens the file beneath its job's own folder, checks its size and hash against `artifact` (fills them in where they
// are absent), and streams it. INVALID_ARGUMENT for a place that is not in that folder. Blocks.
absl::Status UploadFile(const process::OpenRoot& checkpoints, const ArtifactPlace& place, const v1::AttemptRef& ref,
                        v1::Artifact artifact, ServerLink& link);

// Artifacts of a bundle, which nobody reads on the worker.
inline constexpr char kBundlePrefix[] = "bundle-";

// The server names the artifacts it wants in every answer until it has them; each is uploaded once at a time, and again
// after a pause when that failed. Those of several jobs go at once: of each most of the time is waiting for the
// server's disk, which makes many durable as quickly as one. Not thread-safe.
class ArtifactUploader {
 public:
  // All three must outlive the uploader; `inbox` must not run actions after it.
  ArtifactUploader(const process::OpenRoot& checkpoints, ServerLink& link, Inbox& inbox)
      : checkpoints_(checkpoints), link_(link), inbox_(inbox) {}

  // The trace id is the job's.
  void Want(const v1::ArtifactRequest& request, const ArtifactPlace& place, const std::string& trace_id,
            process::SteadyTime now);

  bool busy() const { return in_flight_ > 0; }
  std::int64_t uploaded() const { return uploaded_; }
  std::int64_t failed() const { return failed_; }

 private:
  using FileKey = std::pair<AttemptKey, std::string>;
  struct State {
    bool in_flight = false;
    bool just_failed = false;
    std::string trace_id;
    process::SteadyTime not_before = process::SteadyTime::min();
    Backoff backoff{std::chrono::milliseconds(200), std::chrono::milliseconds(10'000)};
  };

  void OnDone(const FileKey& key, const absl::Status& status);

  const process::OpenRoot& checkpoints_;
  ServerLink& link_;
  Inbox& inbox_;
  std::map<FileKey, State> files_;
  int in_flight_ = 0;
  std::int64_t uploaded_ = 0;
  std::int64_t failed_ = 0;
  std::array<WorkThread, 8> threads_;  // last: their work ends before the rest goes
};

}  // namespace mantissa::agent
