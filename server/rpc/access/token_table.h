#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"

#include "process/access_token.h"
#include "process/mutex.h"

namespace mantissa::server {

// The tokens of a file, followed while it changes. Thread-safe.
class TokenTable {
 public:
  explicit TokenTable(std::string path) : path_(std::move(path)) {}

  // Reads the file anew. An error says what is wrong in it and leaves the table as it is. Does I/O.
  absl::Status Load();

  // Load, where the file is another one than the last time it was looked at. The status of that load; OK when there was
  // none.
  absl::Status LoadIfChanged();

  std::optional<process::TokenEntry> Find(const std::string& sha256) const;

  // Grows with every Load that changed the table.
  uint64_t version() const;

 private:
  using Entries = std::unordered_map<std::string, process::TokenEntry>;

  // What tells a file from the one that was there before, without reading it.
  std::string Fingerprint() const;

  const std::string path_;
  mutable process::Mutex mutex_;
  std::shared_ptr<const Entries> entries_ ABSL_GUARDED_BY(mutex_) = std::make_shared<const Entries>();
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string seen_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
