#include "worker/agent/forward/artifact_uploader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <openssl/evp.h>

#include "process/ids.h"
#include "process/log.h"
#include "worker/agent/forward/checkpoint_deletion.h"
#include "worker/agent/tenant_roots.h"

namespace mantissa::agent {
namespace {

using process::Level;
using process::Log;

constexpr std::size_t kChunkBytes = std::size_t{256} << 10;

// The next bytes of the file; empty at its end.
absl::StatusOr<std::string_view> ReadInto(std::span<char> buffer, int fd) {
  ssize_t size = 0;
  while ((size = ::read(fd, buffer.data(), buffer.size())) < 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, "reading the artifact");
  }
  return std::string_view(buffer.data(), static_cast<std::size_t>(size));
}

// A job's own folder, and what a path beneath it is called there.
struct Placed {
  process::OpenRoot folder;
  std::string within;
};

absl::StatusOr<Placed> Place(const process::OpenRoot& checkpoints, const ArtifactPlace& place,
                             const std::string& job_id) {
  if (job_id.empty() || !absl::StartsWith(place.path, absl::StrCat(job_id, "/"))) {
    return absl::InvalidArgumentError("the trainer named a file that does not lie in its job's folder");
  }
  absl::StatusOr<process::OpenRoot> folder = JobFolder(checkpoints, place.tenant, job_id);
  if (!folder.ok()) return folder.status();
  return Placed{*std::move(folder), place.path.substr(job_id.size() + 1)};
}

}  // namespace

absl::StatusOr<std::string> HashFile(int fd) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::array<char, 64 << 10> buffer;
  while (true) {
    absl::StatusOr<std::string_view> chunk = ReadInto(buffer, fd);
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) break;
    EVP_DigestUpdate(context.get(), chunk->data(), chunk->size());
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), digest.data(), &size);
  return process::HexEncode(std::string_view(reinterpret_cast<const char*>(digest.data()), size));
}

absl::Status UploadFile(const process::OpenRoot& checkpoints, const ArtifactPlace& place, const v1::AttemptRef& ref,
                        v1::Artifact artifact, ServerLink& link) {
  const absl::StatusOr<Placed> placed = Place(checkpoints, place, ref.job_id());
  if (!placed.ok()) return placed.status();
  absl::StatusOr<process::FileDescriptor> file = placed->folder.OpenBeneath(placed->within, O_RDONLY, artifact.name());
  if (!file.ok()) return file.status();
  struct stat info {};
  if (::fstat(file->get(), &info) != 0) return absl::ErrnoToStatus(errno, "looking at the artifact");
  if (artifact.size_bytes() > 0 && artifact.size_bytes() != info.st_size) {
    return absl::DataLossError(absl::StrCat("the artifact has ", info.st_size, " bytes on disk; it was announced with ",
                                            artifact.size_bytes()));
  }
  artifact.set_size_bytes(info.st_size);
  absl::StatusOr<std::string> hash = HashFile(file->get());
  if (!hash.ok()) return hash.status();
  if (!artifact.sha256().empty() && artifact.sha256() != *hash) {
    return absl::DataLossError("the artifact on disk is not what its trainer wrote: its SHA-256 differs");
  }
  artifact.set_sha256(*hash);
  if (::lseek(file->get(), 0, SEEK_SET) != 0) return absl::ErrnoToStatus(errno, "rewinding the artifact");
  std::string buffer(std::min(kChunkBytes, static_cast<std::size_t>(std::max<off_t>(info.st_size, 1))), '\0');
  return link.UploadArtifact(ref, artifact, [&, fd = file->get()]() -> absl::StatusOr<std::string> {
    absl::StatusOr<std::string_view> chunk = ReadInto(buffer, fd);
    if (!chunk.ok()) return chunk.status();
    return std::string(*chunk);
  });
}

void ArtifactUploader::Want(const v1::ArtifactRequest& request, const ArtifactPlace& place, const std::string& trace_id,
                            process::SteadyTime now) {
  const FileKey key{KeyOf(request.ref()), request.artifact().name()};
  State& state = files_[key];
  if (std::exchange(state.just_failed, false)) state.not_before = now + state.backoff.Next();
  if (state.in_flight || now < state.not_before) return;
  state.in_flight = true;
  state.trace_id = trace_id;
  ++in_flight_;
  threads_[std::hash<std::string>()(key.first.job_id) % threads_.size()].Post([this, key, request, place] {
    absl::Status status = UploadFile(checkpoints_, place, request.ref(), request.artifact(), link_);
    if (status.ok() && absl::StartsWith(request.artifact().name(), kBundlePrefix)) {
      if (const auto placed = Place(checkpoints_, place, key.first.job_id); placed.ok()) {
        RemoveUploaded(placed->folder, placed->within);
      }
    }
    inbox_.Post([this, key, status = std::move(status)] { OnDone(key, status); });
  });
}

void ArtifactUploader::OnDone(const FileKey& key, const absl::Status& status) {
  --in_flight_;
  State& state = files_[key];
  state.in_flight = false;
  if (status.ok()) {
    ++uploaded_;
    files_.erase(key);
    return;
  }
  ++failed_;
  state.just_failed = true;
  Log(Level::kWarning, "an artifact could not be uploaded; it is tried again while the server asks for it",
      {{"job", key.first.job_id},
       {"attempt", key.first.attempt},
       {"trace_id", state.trace_id},
       {"artifact", key.second},
       {"error", status}});
}

}  // namespace mantissa::agent
