// Layout: <folder>/<job id>/attempt-0001/logs/<rank>-<stream>/<offset>, <folder>/<job id>/attempt-0001/files/<name>,
// and <folder>/incoming/ for what is not finished.
#include "server/store/blob_files.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "process/failpoint.h"
#include "process/ids.h"
#include "server/core/checkpoint_policy.h"

namespace mantissa::server {
namespace {

absl::StatusOr<std::string> AttemptFolder(const std::string& folder, const std::string& job_id, int32_t attempt) {
  if (!process::IsUlid(job_id)) return absl::InvalidArgumentError("job_id: must be a job's id");
  if (attempt < 1) return absl::InvalidArgumentError("attempt: must be at least 1");
  return absl::StrFormat("%s/%s/attempt-%04d", folder, job_id, attempt);
}

absl::Status CheckName(const std::string& name) {
  if (IsSaneRelativePath(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "name: must be a relative path without empty, `.` or `..` parts or control characters, at most 255 bytes a part");
}

}  // namespace

ArtifactWriter::ArtifactWriter(v1::Artifact artifact, std::string temporary, std::string folder, std::string target)
    : artifact_(std::move(artifact)),
      temporary_(std::move(temporary)),
      folder_(std::move(folder)),
      target_(std::move(target)) {}

ArtifactWriter::~ArtifactWriter() {
  if (file_.valid()) ::unlink(temporary_.c_str());
}

absl::Status ArtifactWriter::Append(std::string_view data) {
  if (!file_.valid()) return absl::FailedPreconditionError("store: the artifact is finished");
  if (static_cast<int64_t>(data.size()) > artifact_.size_bytes() - size_) {
    return absl::InvalidArgumentError(
        absl::StrCat("artifact ", artifact_.name(), ": more than its ", artifact_.size_bytes(), " bytes came"));
  }
  absl::Status written = WriteAll(file_.get(), data);
  if (!written.ok()) return written;
  hash_.Update(data);
  size_ += static_cast<int64_t>(data.size());
  return written;
}

absl::Status ArtifactWriter::Finish() {
  if (!file_.valid()) return absl::FailedPreconditionError("store: the artifact is finished");
  if (size_ != artifact_.size_bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("artifact ", artifact_.name(), ": ", size_, " bytes came of ", artifact_.size_bytes()));
  }
  if (hash_.Finish() != artifact_.sha256()) {
    return absl::InvalidArgumentError(absl::StrCat("artifact ", artifact_.name(), ": the bytes have another SHA-256"));
  }
  if (absl::Status failed = MANTISSA_FAILPOINT_STATUS("artifact.before_sync"); !failed.ok()) return failed;
  if (::fsync(file_.get()) != 0) return FileError("an artifact cannot be synced", errno);
  absl::Status made = MakeFolders(folder_);
  if (!made.ok()) return made;
  MANTISSA_FAILPOINT("artifact.before_rename");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return FileError("an artifact cannot be put in place", errno);
  if (::close(file_.Release()) != 0) return FileError("an artifact cannot be closed", errno);
  MANTISSA_FAILPOINT("artifact.after_rename");
  return SyncFolder(folder_);
}

absl::StatusOr<std::string> ArtifactReader::Read(int64_t offset, int64_t max_bytes) {
  if (offset < 0 || offset > size_) {
    return absl::OutOfRangeError(absl::StrCat("offset: must be 0 to ", size_, ", the size of the file"));
  }
  std::string data(static_cast<size_t>(std::clamp<int64_t>(max_bytes, 0, size_ - offset)), '\0');
  size_t have = 0;
  while (have < data.size()) {
    const ssize_t got =
        ::pread(file_.get(), data.data() + have, data.size() - have, offset + static_cast<int64_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("an artifact cannot be read", errno);
    if (got == 0) return absl::DataLossError("store: an artifact is shorter than it was");
    have += static_cast<size_t>(got);
  }
  return data;
}

absl::StatusOr<std::unique_ptr<BlobFiles>> BlobFiles::Open(const std::string& folder, BlobFilesOptions options) {
  absl::Status made = MakeFolders(folder);
  if (made.ok()) made = MakeFolders(folder + "/incoming");
  if (!made.ok()) return made;
  std::error_code error;
  for (const auto& left : std::filesystem::directory_iterator(folder + "/incoming", error)) {
    std::filesystem::remove(left.path(), error);
  }
  return std::unique_ptr<BlobFiles>(new BlobFiles(folder, options));
}

absl::StatusOr<LogFolder> BlobFiles::Log(const LogKey& key) const {
  if (key.stream != v1::LogStream::STDOUT && key.stream != v1::LogStream::STDERR) {
    return absl::InvalidArgumentError("stream: must be STDOUT or STDERR");
  }
  if (key.rank < 0) return absl::InvalidArgumentError("rank: must not be negative");
  auto folder = AttemptFolder(folder_, key.job_id, key.attempt);
  if (!folder.ok()) return folder.status();
  const char* stream = key.stream == v1::LogStream::STDOUT ? "stdout" : "stderr";
  return LogFolder(absl::StrCat(*folder, "/logs/", key.rank, "-", stream), options_.max_log_bytes);
}

process::Mutex& BlobFiles::LockOf(const LogKey& key) {
  const size_t hash = std::hash<std::string>()(key.job_id) + static_cast<size_t>(key.attempt) * 31 +
                      static_cast<size_t>(key.rank) * 7 + static_cast<size_t>(key.stream);
  return log_locks_[hash % log_locks_.size()];
}

absl::StatusOr<int64_t> BlobFiles::LogSize(const LogKey& key) {
  auto log = Log(key);
  if (!log.ok()) return log.status();
  process::MutexLock lock(LockOf(key));
  return log->Size();
}

absl::StatusOr<int64_t> BlobFiles::AppendLog(const LogKey& key, int64_t offset, std::string_view data) {
  auto log = Log(key);
  if (!log.ok()) return log.status();
  process::MutexLock lock(LockOf(key));
  return log->Append(offset, data);
}

absl::StatusOr<LogChunk> BlobFiles::ReadLog(const LogKey& key, int64_t offset, int64_t max_bytes) {
  auto log = Log(key);
  if (!log.ok()) return log.status();
  process::MutexLock lock(LockOf(key));
  auto chunk = log->Read(offset, max_bytes);
  if (!chunk.ok()) return chunk.status();
  return LogChunk{std::move(chunk->data), chunk->offset, chunk->dropped_bytes, chunk->size};
}

absl::StatusOr<std::unique_ptr<ArtifactWriter>> BlobFiles::WriteArtifact(const std::string& job_id, int32_t attempt,
                                                                         const v1::Artifact& artifact) {
  auto attempt_folder = AttemptFolder(folder_, job_id, attempt);
  if (!attempt_folder.ok()) return attempt_folder.status();
  absl::Status name = CheckName(artifact.name());
  if (!name.ok()) return name;
  if (artifact.size_bytes() < 0 || artifact.size_bytes() > options_.max_artifact_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("artifact ", artifact.name(), ": size_bytes must be 0 to ", options_.max_artifact_bytes));
  }
  const std::string temporary = absl::StrCat(folder_, "/incoming/", process::RandomUuid());
  const std::string target = absl::StrCat(*attempt_folder, "/files/", artifact.name());
  std::unique_ptr<ArtifactWriter> writer(
      new ArtifactWriter(artifact, temporary, std::filesystem::path(target).parent_path().string(), target));
  writer->file_ = process::FileDescriptor(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
  if (!writer->file_.valid()) return FileError("an artifact cannot be opened", errno);
  return writer;
}

absl::Status BlobFiles::RemoveJob(const std::string& job_id) {
  if (!process::IsUlid(job_id)) return absl::InvalidArgumentError("job_id: must be a job's id");
  std::error_code error;
  std::filesystem::remove_all(absl::StrCat(folder_, "/", job_id), error);
  return error ? FileError("what is kept of a job cannot be removed", error.value()) : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ArtifactReader>> BlobFiles::ReadArtifact(const std::string& job_id, int32_t attempt,
                                                                        const std::string& name) {
  auto attempt_folder = AttemptFolder(folder_, job_id, attempt);
  if (!attempt_folder.ok()) return attempt_folder.status();
  absl::Status valid = CheckName(name);
  if (!valid.ok()) return valid;
  process::FileDescriptor file(
      ::open(absl::StrCat(*attempt_folder, "/files/", name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return absl::NotFoundError(absl::StrCat("artifact ", name, " is not there"));
  }
  return std::unique_ptr<ArtifactReader>(new ArtifactReader(std::move(file), status.st_size));
}

}  // namespace mantissa::server
