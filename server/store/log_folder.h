// One log stream of an attempt, as a folder of segments.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/file_descriptor.h"

namespace mantissa::server {

// A segment's name is the offset of its first byte, so that what is left says by itself where it belongs. When a
// segment has reached half the quota the next begins, and of the older ones only the newest is kept: the end of a log,
// where the reason of a crash stands, is never dropped. Not thread-safe: its owner serialises the calls for one folder.
class LogFolder {
 public:
  struct Segment {
    int64_t offset = 0;
    int64_t size = 0;
  };
  struct Chunk {
    std::string data;
    int64_t offset = 0;
    int64_t dropped_bytes = 0;
    int64_t size = 0;
  };

  LogFolder(std::string path, int64_t quota) : path_(std::move(path)), quota_(quota) {}

  // One past the newest byte; 0 where nothing was ever written.
  absl::StatusOr<int64_t> Size() const;
  // Overlap is dropped, a hole is OUT_OF_RANGE. Synced when it returns the new size.
  absl::StatusOr<int64_t> Append(int64_t offset, std::string_view data);
  absl::StatusOr<Chunk> Read(int64_t offset, int64_t max_bytes) const;

 private:
  absl::StatusOr<std::vector<Segment>> Segments() const;
  std::string FileOf(int64_t offset) const;

  const std::string path_;
  const int64_t quota_;
};

// Makes a folder and those above it, and syncs what holds them.
absl::Status MakeFolders(const std::string& path);
absl::Status SyncFolder(const std::string& path);
// RESOURCE_EXHAUSTED for a full disk, else INTERNAL; says what failed and never a path.
absl::Status FileError(const char* what, int error);
absl::Status WriteAll(int fd, std::string_view data);

}  // namespace mantissa::server
