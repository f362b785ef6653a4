// A file on its way here: a part under another name until it is whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/cli/download/sha256.h"
#include "process/file_descriptor.h"

namespace mantissa::cli {

// `FILE.<first 12 digits of its SHA-256>.part`, so that the part of another version is never gone on from. Locked while
// open: two downloads of one file do not write into each other. Not thread-safe.
class PartialFile {
 public:
  // Opens or creates the part, and hashes what is already in it. FAILED_PRECONDITION when another download has it.
  static absl::StatusOr<PartialFile> Open(const std::string& file, const std::string& sha256, std::int64_t size);

  std::int64_t offset() const { return offset_; }
  const std::string& path() const { return path_; }

  absl::Status Append(std::string_view bytes);

  // Begins again with an empty part.
  absl::Status Restart();

  // Verifies size and hash, makes the bytes durable and gives the file its name. DATA_LOSS when they are wrong.
  absl::Status Commit();

 private:
  PartialFile(std::string file, std::string sha256, std::int64_t size);

  absl::Status HashWhatIsThere();

  std::string file_;
  std::string path_;
  std::string sha256_;
  std::int64_t size_ = 0;
  std::int64_t offset_ = 0;
  process::FileDescriptor descriptor_;
  Sha256 hash_;
};

}  // namespace mantissa::cli
