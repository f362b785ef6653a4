#include "server/store/migration_history.h"

#include "absl/strings/str_cat.h"

namespace mantissa::server {

absl::Status CheckHistory(const std::vector<AppliedMigration>& applied, const std::vector<Migration>& known) {
  const int32_t version = applied.empty() ? 0 : applied.back().version;
  if (version > static_cast<int32_t>(known.size())) {
    return absl::FailedPreconditionError(
        absl::StrCat("store: the database has schema ", version, ", and this server knows schemas up to ", known.size(),
                     "; start a server at least as new as the one that wrote it, or restore a backup"));
  }
  for (size_t i = 0; i < applied.size(); ++i) {
    const Migration& expected = known[i];
    if (applied[i].version != expected.version || applied[i].sha256 != expected.sha256) {
      return absl::FailedPreconditionError(absl::StrCat("store: schema ", expected.version,
                                                        " of the database was made by another file than this server's ",
                                                        std::string(expected.name), "; start the server that made it"));
    }
  }
  return absl::OkStatus();
}

}  // namespace mantissa::server
