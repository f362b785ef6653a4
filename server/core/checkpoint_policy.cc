#include "server/core/checkpoint_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mantissa::server {

std::string CheckpointName(int32_t attempt, int32_t step) {
  return absl::StrFormat("attempt-%04d/step-%08d", attempt, step);
}

bool IsSaneRelativePath(const std::string& path, size_t longest) {
  if (path.empty() || path.size() > longest) return false;
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; })) {
    return false;
  }
  size_t from = 0;
  while (true) {
    const size_t slash = path.find('/', from);
    const std::string part = path.substr(from, slash == std::string::npos ? std::string::npos : slash - from);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (slash == std::string::npos) return true;
    from = slash + 1;
  }
}

bool IsSha256Hex(const std::string& text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

absl::Status CheckCheckpoint(const v1::Checkpoint& checkpoint) {
  auto bad = [](const char* field, const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint.", field, ": ", why));
  };
  if (checkpoint.step() < 0) return bad("step", "must not be negative");
  if (checkpoint.iteration() < checkpoint.step()) return bad("iteration", "must be at least the step");
  const std::string name = CheckpointName(checkpoint.attempt(), checkpoint.step());
  // A second one at the same step, with nothing but skipped iterations in between, names its iteration too.
  const std::string again = absl::StrCat(name, absl::StrFormat("-iteration-%08d", checkpoint.iteration()));
  if (checkpoint.name() != name && checkpoint.name() != again) {
    return bad("name", absl::StrCat("must be \"", name, "\" or \"", again, "\""));
  }
  if (checkpoint.storage_id().empty() || checkpoint.storage_id().size() > 64) {
    return bad("storage_id", "must name the storage that holds it, at most 64 bytes");
  }
  // Which is where deletions are sent: a trainer gone wrong must not have another job's files deleted.
  const std::string path = absl::StrCat(checkpoint.job_id(), "/", checkpoint.name());
  if (checkpoint.path() != path) return bad("path", absl::StrCat("must be \"", path, "\""));
  if (checkpoint.size_bytes() < 0) return bad("size_bytes", "must not be negative");
  if (!IsSha256Hex(checkpoint.manifest_sha256())) {
    return bad("manifest_sha256", "must be 64 lower-case hexadecimal digits");
  }
  return absl::OkStatus();
}

std::vector<size_t> DeletableCheckpoints(const std::vector<v1::Checkpoint>& checkpoints, int32_t keep,
                                         const std::string& resumed_from) {
  const size_t count = checkpoints.size();
  const size_t newest = std::min(count, static_cast<size_t>(std::max(keep, 2)));
  auto last_finite = std::find_if(checkpoints.rbegin(), checkpoints.rend(),
                                  [](const v1::Checkpoint& checkpoint) { return checkpoint.finite(); });
  std::vector<size_t> deletable;
  for (size_t i = 0; i + newest < count; ++i) {
    if (last_finite != checkpoints.rend() && &checkpoints[i] == &*last_finite) continue;
    if (checkpoints[i].name() == resumed_from) continue;
    deletable.push_back(i);
  }
  return deletable;
}

const v1::Checkpoint* ChooseInitial(const std::vector<v1::Checkpoint>& checkpoints,
                                    const std::vector<size_t>& deletable, int32_t step) {
  for (size_t i = checkpoints.size(); i-- > 0;) {
    if (!checkpoints[i].finite() || (step > 0 && checkpoints[i].step() != step)) continue;
    if (!std::binary_search(deletable.begin(), deletable.end(), i)) return &checkpoints[i];
  }
  return nullptr;
}

}  // namespace mantissa::server
