// Bytes of jobs that are too large or too many for rows: what their trainers printed, and the files they left.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "process/file_descriptor.h"
#include "process/mutex.h"
#include "server/store/log_folder.h"
#include "server/store/sha256.h"

namespace mantissa::server {

// One stream of one rank of an attempt.
struct LogKey {
  std::string job_id;
  int32_t attempt = 0;
  int32_t rank = 0;
  v1::LogStream::Name stream = v1::LogStream::STDERR;
};

struct LogChunk {
  std::string data;
  int64_t offset = 0;         // of data's first byte; more than what was asked for when that was dropped
  int64_t dropped_bytes = 0;  // before the first byte that is still kept
  int64_t size = 0;           // one past the newest byte
};

// An artifact on its way in. One that is not finished leaves nothing behind. Not thread-safe.
class ArtifactWriter {
 public:
  ~ArtifactWriter();
  // INVALID_ARGUMENT when more comes than the artifact said.
  absl::Status Append(std::string_view data);
  // Checks size and SHA-256 (INVALID_ARGUMENT when they differ), syncs, and puts the file in
  // place: whole or absent.
  absl::Status Finish();

 private:
  friend class BlobFiles;
  ArtifactWriter(v1::Artifact artifact, std::string temporary, std::string folder, std::string target);

  const v1::Artifact artifact_;
  const std::string temporary_;
  const std::string folder_;
  const std::string target_;
  process::FileDescriptor file_;
  Sha256 hash_;
  int64_t size_ = 0;
};

// An artifact on its way out. Not thread-safe.
class ArtifactReader {
 public:
  int64_t size() const { return size_; }
  // Up to `max_bytes` from `offset`; empty at the end.
  absl::StatusOr<std::string> Read(int64_t offset, int64_t max_bytes);

 private:
  friend class BlobFiles;
  ArtifactReader(process::FileDescriptor file, int64_t size) : file_(std::move(file)), size_(size) {}

  process::FileDescriptor file_;
  int64_t size_ = 0;
};

struct BlobFilesOptions {
  int64_t max_artifact_bytes = int64_t{64} << 30;
  int64_t max_log_bytes = int64_t{64} << 20;  // of one stream of an attempt; older bytes are dropped beyond it
};

// Job ids are ULIDs and artifact names are checked here (relative, no `..`, no NUL, at most 255 bytes a part), so that
// nothing leaves `folder`. Every call may block on the disk. RESOURCE_EXHAUSTED when it is full. Thread-safe.
class BlobFiles {
 public:
  // Makes the folder when it is missing and removes what unfinished uploads left.
  static absl::StatusOr<std::unique_ptr<BlobFiles>> Open(const std::string& folder, BlobFilesOptions options = {});

  // Bytes that are on the disk.
  absl::StatusOr<int64_t> LogSize(const LogKey& key);
  // Overlap with what is there is dropped, a hole is OUT_OF_RANGE. Durable when it returns the new size.
  absl::StatusOr<int64_t> AppendLog(const LogKey& key, int64_t offset, std::string_view data);
  // Empty data at the end, and where nothing was ever written.
  absl::StatusOr<LogChunk> ReadLog(const LogKey& key, int64_t offset, int64_t max_bytes);

  // `artifact` has name, size_bytes and sha256.
  absl::StatusOr<std::unique_ptr<ArtifactWriter>> WriteArtifact(const std::string& job_id, int32_t attempt,
                                                                const v1::Artifact& artifact);
  // All that there is of a job; nothing to do where there is nothing.
  absl::Status RemoveJob(const std::string& job_id);

  // NOT_FOUND when it is not there.
  absl::StatusOr<std::unique_ptr<ArtifactReader>> ReadArtifact(const std::string& job_id, int32_t attempt,
                                                               const std::string& name);

 private:
  BlobFiles(std::string folder, BlobFilesOptions options) : folder_(std::move(folder)), options_(options) {}

  absl::StatusOr<LogFolder> Log(const LogKey& key) const;
  process::Mutex& LockOf(const LogKey& key);

  const std::string folder_;
  const BlobFilesOptions options_;
  // Calls for one stream go one after the other; two streams that share a lock merely wait for each other.
  std::array<process::Mutex, 64> log_locks_;
};

}  // namespace mantissa::server
