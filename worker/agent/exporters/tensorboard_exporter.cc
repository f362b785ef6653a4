#include "worker/agent/exporters/tensorboard_exporter.h"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "worker/agent/exporters/event_record.h"

namespace mantissa::agent {
namespace {

absl::Status DiskError(std::string_view what, const std::string& path, const std::string& error) {
  return absl::UnavailableError(absl::StrCat("--tensorboard-dir: can't ", std::string(what), " ", path, ": ", error,
                                             "; make room, or the folder writable"));
}

std::string ErrnoText() { return std::generic_category().message(errno); }

}  // namespace

absl::Status TensorboardExporter::Begin(const ExportedAttempt& attempt) {
  EventFile file;
  absl::Status opened = Open(attempt.key, file);
  if (opened.ok()) files_[attempt.key] = std::move(file);
  return opened;
}

absl::Status TensorboardExporter::Add(const AttemptKey& key, const std::vector<ExportPoint>& points) {
  EventFile& file = files_[key];
  struct stat info {};
  const bool there = file.descriptor.valid() && ::fstat(file.descriptor.get(), &info) == 0 && info.st_nlink > 0;
  if (!there) {
    if (absl::Status opened = Open(key, file); !opened.ok()) return opened;
  }
  std::string bytes;
  for (const ExportPoint& point : points) bytes += ScalarsRecord(point);
  return Append(bytes, file);
}

absl::Status TensorboardExporter::End(const AttemptKey& key, v1::Attempt::State) {
  files_.erase(key);
  return absl::OkStatus();
}

absl::Status TensorboardExporter::Open(const AttemptKey& key, EventFile& file) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(folder_) / key.job_id / absl::StrCat("attempt-", key.attempt);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return DiskError("make", folder.string(), error.message());
  const auto now = clock_.WallNow().time_since_epoch();
  file.path =
      (folder / absl::StrCat("events.out.tfevents.", std::chrono::duration_cast<std::chrono::seconds>(now).count(), ".",
                             host_name_, ".", ::getpid(), ".", opened_++))
          .string();
  file.size = 0;
  file.descriptor = process::FileDescriptor(::open(file.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.descriptor.valid()) return DiskError("make", file.path, ErrnoText());
  absl::Status written =
      Append(FileVersionRecord(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()), file);
  if (!written.ok()) {
    ::unlink(file.path.c_str());
    file.descriptor.Close();
  }
  return written;
}

absl::Status TensorboardExporter::Append(const std::string& bytes, EventFile& file) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t wrote = ::write(file.descriptor.get(), bytes.data() + done, bytes.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      absl::Status failed = DiskError("write", file.path, ErrnoText());
      // Readers stop for good at a torn record, so that nothing may follow it.
      const bool mended = ::ftruncate(file.descriptor.get(), file.size) == 0 &&
                          ::lseek(file.descriptor.get(), file.size, SEEK_SET) == file.size;
      if (!mended) file.descriptor.Close();  // the next one goes into a new file
      return failed;
    }
    done += static_cast<std::size_t>(wrote);
  }
  file.size += static_cast<std::int64_t>(bytes.size());
  return absl::OkStatus();
}

}  // namespace mantissa::agent
