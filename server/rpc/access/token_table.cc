#include "server/rpc/access/token_table.h"

#include <sys/stat.h>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "process/small_file.h"

namespace mantissa::server {

using process::MutexLock;

std::string TokenTable::Fingerprint() const {
  struct stat found {};
  if (::stat(path_.c_str(), &found) != 0) return "none";
  return absl::StrCat(found.st_dev, " ", found.st_ino, " ", found.st_size, " ", found.st_mtim.tv_sec, ".",
                      found.st_mtim.tv_nsec, " ", found.st_ctim.tv_sec, ".", found.st_ctim.tv_nsec);
}

absl::Status TokenTable::Load() {
  // Before the file is read: what changes meanwhile is seen the next time.
  std::string fingerprint = Fingerprint();
  const absl::StatusOr<std::string> text = process::ReadSmallFile(path_);
  absl::StatusOr<std::vector<process::TokenEntry>> parsed = std::vector<process::TokenEntry>();
  if (text.ok()) parsed = process::ParseTokenFile(*text);
  auto entries = std::make_shared<Entries>();
  if (parsed.ok()) {
    for (process::TokenEntry& entry : *parsed) entries->emplace(entry.sha256, std::move(entry));
  }
  MutexLock lock(mutex_);
  seen_ = std::move(fingerprint);
  if (!text.ok()) return absl::Status(text.status().code(), absl::StrCat("--tokens: ", text.status().message()));
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--tokens: ", path_, ": ", parsed.status().message()));
  }
  entries_ = std::move(entries);
  ++version_;
  return absl::OkStatus();
}

absl::Status TokenTable::LoadIfChanged() {
  const std::string now = Fingerprint();
  {
    MutexLock lock(mutex_);
    if (now == seen_) return absl::OkStatus();
  }
  return Load();
}

std::optional<process::TokenEntry> TokenTable::Find(const std::string& sha256) const {
  std::shared_ptr<const Entries> entries;
  {
    MutexLock lock(mutex_);
    entries = entries_;
  }
  const auto found = entries->find(sha256);
  return found == entries->end() ? std::nullopt : std::optional(found->second);
}

uint64_t TokenTable::version() const {
  MutexLock lock(mutex_);
  return version_;
}

}  // namespace mantissa::server
