#include "server/store/log_folder.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "process/failpoint.h"

namespace mantissa::server {
namespace {

constexpr size_t kNameDigits = 20;

}  // namespace

absl::Status FileError(const char* what, int error) {
  const std::string message = absl::StrCat("store: ", what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

absl::Status WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = ::write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("a file cannot be written", errno);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  process::FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || ::fsync(folder.get()) != 0) return FileError("a folder cannot be synced", errno);
  return absl::OkStatus();
}

absl::Status MakeFolders(const std::string& path) {
  std::vector<std::string> missing = {path};
  std::vector<std::string> changed;
  while (!missing.empty()) {
    const std::string& folder = missing.back();
    std::string parent = std::filesystem::path(folder).parent_path().string();
    const bool made = ::mkdir(folder.c_str(), 0750) == 0;
    if (!made && errno == ENOENT && !parent.empty()) {
      missing.push_back(std::move(parent));
      continue;
    }
    if (!made && errno != EEXIST) return FileError("a folder cannot be made", errno);
    if (made) changed.push_back(std::move(parent));
    missing.pop_back();
  }
  // All are made before one is synced: a disk with a journal writes that once for them all.
  for (const std::string& folder : changed) {
    if (absl::Status synced = SyncFolder(folder); !synced.ok()) return synced;
  }
  return absl::OkStatus();
}

std::string LogFolder::FileOf(int64_t offset) const {
  return absl::StrFormat("%s/%0*d", path_, static_cast<int>(kNameDigits), offset);
}

absl::StatusOr<std::vector<LogFolder::Segment>> LogFolder::Segments() const {
  std::vector<Segment> segments;
  DIR* folder = ::opendir(path_.c_str());
  if (folder == nullptr) {
    if (errno == ENOENT) return segments;
    return FileError("a log cannot be read", errno);
  }
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name(entry->d_name);
    Segment segment;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), segment.offset);
    if (name.size() != kNameDigits || error != std::errc() || end != name.data() + name.size()) continue;
    struct stat status {};
    if (::stat(FileOf(segment.offset).c_str(), &status) != 0) continue;  // dropped meanwhile
    segment.size = status.st_size;
    segments.push_back(segment);
  }
  ::closedir(folder);
  std::sort(segments.begin(), segments.end(), [](const Segment& a, const Segment& b) { return a.offset < b.offset; });
  return segments;
}

absl::StatusOr<int64_t> LogFolder::Size() const {
  auto segments = Segments();
  if (!segments.ok()) return segments.status();
  return segments->empty() ? 0 : segments->back().offset + segments->back().size;
}

absl::StatusOr<int64_t> LogFolder::Append(int64_t offset, std::string_view data) {
  auto segments = Segments();
  if (!segments.ok()) return segments.status();
  int64_t size = segments->empty() ? 0 : segments->back().offset + segments->back().size;
  if (offset < 0) return absl::InvalidArgumentError("offset: must not be negative");
  if (offset > size) {
    return absl::OutOfRangeError(absl::StrCat("offset: byte ", size, " is next, and the data begins at ", offset));
  }
  if (offset + static_cast<int64_t>(data.size()) <= size) return size;
  data.remove_prefix(static_cast<size_t>(size - offset));

  const int64_t segment_limit = std::max<int64_t>(quota_ / 2, 1);
  while (!data.empty()) {
    const bool fresh = segments->empty() || segments->back().size >= segment_limit;
    if (fresh) {
      absl::Status made = MakeFolders(path_);
      if (!made.ok()) return made;
      segments->push_back({size, 0});
    }
    Segment& segment = segments->back();
    process::FileDescriptor file(
        ::open(FileOf(segment.offset).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
    if (!file.valid()) return FileError("a log cannot be opened", errno);
    const std::string_view part = data.substr(0, static_cast<size_t>(segment_limit - segment.size));
    absl::Status written = WriteAll(file.get(), part);
    if (written.ok()) written = MANTISSA_FAILPOINT_STATUS("log.before_sync");
    if (written.ok() && ::fdatasync(file.get()) != 0) written = FileError("a log cannot be synced", errno);
    if (written.ok() && fresh) written = SyncFolder(path_);
    if (!written.ok()) {
      // What was not synced was not promised; cut it off, so that sent again it is not there twice.
      if (::ftruncate(file.get(), segment.size) != 0 && segment.size == 0) ::unlink(FileOf(segment.offset).c_str());
      return written;
    }
    MANTISSA_FAILPOINT("log.after_sync");
    segment.size += static_cast<int64_t>(part.size());
    size += static_cast<int64_t>(part.size());
    data.remove_prefix(part.size());
    for (; segments->size() > 2; segments->erase(segments->begin())) {
      ::unlink(FileOf(segments->front().offset).c_str());
    }
  }
  return size;
}

absl::StatusOr<LogFolder::Chunk> LogFolder::Read(int64_t offset, int64_t max_bytes) const {
  auto segments = Segments();
  if (!segments.ok()) return segments.status();
  Chunk chunk;
  chunk.offset = std::max<int64_t>(offset, 0);
  if (segments->empty()) return chunk;
  chunk.dropped_bytes = segments->front().offset;
  chunk.size = segments->back().offset + segments->back().size;
  chunk.offset = std::max(chunk.offset, chunk.dropped_bytes);
  for (const Segment& segment : *segments) {
    const int64_t from = chunk.offset + static_cast<int64_t>(chunk.data.size());
    if (from < segment.offset || from >= segment.offset + segment.size) continue;
    const int64_t room = max_bytes - static_cast<int64_t>(chunk.data.size());
    const int64_t count = std::min(room, segment.offset + segment.size - from);
    if (count <= 0) break;
    process::FileDescriptor file(::open(FileOf(segment.offset).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return FileError("a log cannot be read", errno);
    const size_t before = chunk.data.size();
    chunk.data.resize(before + static_cast<size_t>(count));
    const ssize_t got =
        ::pread(file.get(), chunk.data.data() + before, static_cast<size_t>(count), from - segment.offset);
    if (got < 0) return FileError("a log cannot be read", errno);
    chunk.data.resize(before + static_cast<size_t>(got));
    if (got < count) break;
  }
  return chunk;
}

}  // namespace mantissa::server
