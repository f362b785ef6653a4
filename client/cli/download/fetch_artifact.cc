#include "client/cli/download/fetch_artifact.h"

#include <chrono>
#include <thread>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "client/cli/download/partial_file.h"
#include "client/cli/download/sha256.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/rpc_failure.h"

namespace mantissa::cli {
namespace {

constexpr int kFruitlessTries = 5;  // calls in a row that brought nothing
constexpr std::chrono::milliseconds kRedraw{200};

// A line on the terminal that says how far it is. Used by one thread.
class ProgressLine {
 public:
  ProgressLine(const Console& console, std::int64_t size) : console_(console), size_(size) {}
  ~ProgressLine() {
    if (shown_) console_.err.Write("\r\x1b[K");
  }

  void Show(std::int64_t offset) {
    if (!console_.err_look.terminal) return;
    const process::SteadyTime now = console_.clock.Now();
    if (shown_ && now - last_ < kRedraw) return;
    last_ = now;
    shown_ = true;
    const std::string text =
        absl::StrCat(SizeText(offset), " of ", SizeText(size_), "  ", size_ > 0 ? 100 * offset / size_ : 100, " %");
    console_.err.Write(absl::StrCat("\r", Clip(text, console_.width() - 1), "\x1b[K"));
  }

 private:
  const Console& console_;
  const std::int64_t size_;
  bool shown_ = false;
  process::SteadyTime last_{};
};

// One call from `offset`; each piece goes to `take`.
template <typename Take>
grpc::Status Fetch(const Context& context, const std::string& job_id, const v1::Artifact& artifact, std::int64_t offset,
                   absl::Status& local, Take take) {
  v1::DownloadArtifactRequest request;
  request.set_job_id(job_id);
  request.set_name(artifact.name());
  request.set_offset(offset);
  grpc::ClientContext call;
  const auto reader = context.connection.jobs().DownloadArtifact(&call, request);
  v1::DownloadArtifactResponse response;
  while (reader->Read(&response)) {
    if (response.has_artifact() && response.artifact().sha256() != artifact.sha256()) {
      local = absl::AbortedError("the file changed on the server meanwhile; run the same command again");
    }
    if (local.ok() && !response.data().empty()) local = take(response.data());
    if (!local.ok()) call.TryCancel();
  }
  return reader->Finish();
}

}  // namespace

absl::Status FetchToFile(const Context& context, const std::string& job_id, const v1::Artifact& artifact,
                         const std::string& file) {
  absl::StatusOr<PartialFile> part = PartialFile::Open(file, artifact.sha256(), artifact.size_bytes());
  if (!part.ok()) return part.status();
  const bool resumed = part->offset() > 0;
  if (resumed) context.console.Note(absl::StrCat("going on from ", SizeText(part->offset()), " in ", part->path()));
  bool fresh = !resumed;
  ProgressLine progress(context.console, artifact.size_bytes());
  int fruitless = 0;
  while (true) {
    const std::int64_t before = part->offset();
    if (before < artifact.size_bytes()) {
      absl::Status local;
      const grpc::Status status = Fetch(context, job_id, artifact, before, local, [&](const std::string& data) {
        const absl::Status appended = part->Append(data);
        progress.Show(part->offset());
        return appended;
      });
      if (!local.ok() && local.code() != absl::StatusCode::kDataLoss) return local;
      if (local.ok() && !status.ok()) {
        fruitless = part->offset() > before ? 0 : fruitless + 1;
        if (!IsTransient(DecodeFailure(status)) || fruitless >= kFruitlessTries) {
          return context.connection.Explained(status);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(200) * (1 << fruitless));
        continue;
      }
    }
    const absl::Status committed = part->Commit();
    if (committed.code() != absl::StatusCode::kDataLoss) return committed;
    const absl::Status emptied = part->Restart();
    if (!emptied.ok()) return emptied;
    if (fresh) {
      ::unlink(part->path().c_str());
      return absl::DataLossError(absl::StrCat(committed.message(), "; nothing was kept, try again"));
    }
    context.console.Note("what was there is damaged; fetching it from the beginning");
    fresh = true;
  }
}

absl::Status FetchToStdout(const Context& context, const std::string& job_id, const v1::Artifact& artifact) {
  Sha256 hash;
  std::int64_t written = 0;
  absl::Status local;
  const grpc::Status status = Fetch(context, job_id, artifact, 0, local, [&](const std::string& data) {
    hash.Add(data);
    written += static_cast<std::int64_t>(data.size());
    context.console.out.Write(data);
    return context.console.out.failed() ? absl::UnknownError("stdout can't be written") : absl::OkStatus();
  });
  if (!local.ok()) return local;
  if (!status.ok()) return context.connection.Explained(status);
  if (written != artifact.size_bytes() || hash.Finish() != artifact.sha256()) {
    return absl::DataLossError("what was written to stdout is damaged (wrong size or SHA-256); try again");
  }
  return absl::OkStatus();
}

}  // namespace mantissa::cli
