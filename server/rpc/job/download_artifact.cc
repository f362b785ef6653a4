#include "server/rpc/job/download_artifact.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/rpc/job/read_job.h"

namespace mantissa::server {
namespace {

constexpr int64_t kFrameBytes = 64 << 10;
constexpr char kDefaultName[] = "model.safetensors";

const ArtifactWrite* FindByName(const std::vector<ArtifactWrite>& artifacts, const std::string& name) {
  const auto found = std::find_if(artifacts.begin(), artifacts.end(),
                                  [&name](const ArtifactWrite& write) { return write.artifact.name() == name; });
  return found == artifacts.end() ? nullptr : &*found;
}

}  // namespace

DownloadArtifactStream::DownloadArtifactStream(Backend& backend, const grpc::CallbackServerContext& context,
                                               const v1::DownloadArtifactRequest& request)
    : FrameStream(backend, context, "JobService/DownloadArtifact"), request_(request) {}

absl::StatusOr<ArtifactWrite> DownloadArtifactStream::Find() {
  const absl::Status job = FindJob(backend(), caller(), request_.job_id());
  if (!job.ok()) return job;
  const std::string name = request_.name().empty() ? kDefaultName : request_.name();
  absl::StatusOr<std::vector<ArtifactWrite>> stored = backend().store.ListArtifacts(request_.job_id());
  if (!stored.ok()) return stored.status();
  if (const ArtifactWrite* found = FindByName(*stored, name)) return *found;
  absl::StatusOr<std::vector<ArtifactWrite>> wanted = backend().store.ListWantedArtifacts(request_.job_id());
  if (!wanted.ok()) return wanted.status();
  if (FindByName(*wanted, name) != nullptr) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, "ARTIFACT_ON_ITS_WAY",
                           absl::StrCat("name: ", name, " is still being uploaded by its worker; try again"));
  }
  return ErrorWithReason(absl::StatusCode::kNotFound, "ARTIFACT_NOT_FOUND",
                         absl::StrCat("name: the job has no file ", name, "; ListArtifacts says which it has"));
}

DownloadArtifactStream::Next DownloadArtifactStream::Open() {
  if (request_.offset() < 0) return InvalidField("offset", "must be 0 or more, in bytes");
  if (request_.length() < 0) return InvalidField("length", "must be 1 or more bytes, or 0 for all");
  absl::StatusOr<ArtifactWrite> found = Find();
  if (!found.ok()) return found.status();
  const int64_t size = found->artifact.size_bytes();
  if (request_.offset() > size) {
    return ErrorWithReason(absl::StatusCode::kOutOfRange, "OFFSET_BEYOND_END",
                           absl::StrCat("offset: ", request_.offset(), " lies beyond the file's ", size, " bytes"));
  }
  absl::StatusOr<std::unique_ptr<ArtifactReader>> reader =
      backend().blobs.ReadArtifact(request_.job_id(), found->attempt, found->artifact.name());
  if (!reader.ok()) return reader.status();
  reader_ = *std::move(reader);
  at_ = request_.offset();
  end_ = request_.length() == 0 ? size : at_ + std::min(request_.length(), size - at_);
  v1::DownloadArtifactResponse frame;
  *frame.mutable_artifact() = std::move(found->artifact);
  return frame;
}

DownloadArtifactStream::Next DownloadArtifactStream::Step() {
  if (!reader_) return Open();
  if (at_ >= end_) return absl::OkStatus();
  absl::StatusOr<std::string> data = reader_->Read(at_, std::min(kFrameBytes, end_ - at_));
  if (!data.ok()) return data.status();
  if (data->empty()) return absl::DataLossError("an artifact is shorter than its row says");
  at_ += static_cast<int64_t>(data->size());
  v1::DownloadArtifactResponse frame;
  frame.set_data(*std::move(data));
  return frame;
}

}  // namespace mantissa::server
