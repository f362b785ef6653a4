#include "client/cli/commands/download.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/download/partial_file.h"
#include "client/cli/download/sha256.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/rpc_failure.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr std::string_view kModel = "model.safetensors";
constexpr int kFruitlessTries = 5;  // calls in a row that brought nothing
constexpr std::chrono::milliseconds kRedraw{200};
constexpr std::chrono::milliseconds kLookAgain{200};

absl::StatusOr<v1::Artifact> FindNow(const Context& context, const v1::Job& job, const std::string& name) {
  v1::ListArtifactsRequest request;
  request.set_job_id(job.id());
  request.set_page_size(1000);
  std::optional<v1::Artifact> found;
  std::vector<std::string> names;
  const absl::Status asked =
      ForEachPage(context.connection, context.connection.jobs(), &JobService::Stub::ListArtifacts, request,
                  [&](const v1::ListArtifactsResponse& response) {
                    for (const v1::Artifact& artifact : response.artifacts()) {
                      if (artifact.name() == name) found = artifact;
                      names.push_back(ForTerminal(artifact.name()));
                    }
                    return !found;
                  });
  if (!asked.ok()) return asked;
  if (found) return *std::move(found);
  if (names.empty()) {
    return absl::NotFoundError(
        absl::StrCat("the job has no files yet (it is ", v1::Job::State_Name(job.state()),
                     "); its model is kept when it has SUCCEEDED and its worker has handed it in"));
  }
  return absl::NotFoundError(
      absl::StrCat("the job has no file ", ForTerminal(name), "; it has ", absl::StrJoin(names, ", ")));
}

// A job has succeeded as soon as its outcome is stored; its worker hands the files in just after that.
absl::StatusOr<v1::Artifact> FindArtifact(const Context& context, const v1::Job& job, const std::string& name,
                                          std::chrono::milliseconds patience) {
  const process::SteadyTime give_up = context.console.clock.Now() + patience;
  bool said = false;
  while (true) {
    absl::StatusOr<v1::Artifact> artifact = FindNow(context, job, name);
    if (!absl::IsNotFound(artifact.status()) || job.state() != v1::Job::SUCCEEDED) return artifact;
    if (context.console.clock.Now() >= give_up) return artifact;
    if (!std::exchange(said, true)) {
      context.console.Note(absl::StrCat("waiting for the worker to hand in ", ForTerminal(name)));
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

// The last part of the artifact's name: where it is written decides the caller, never the server.
absl::StatusOr<std::string> LocalName(const std::string& artifact) {
  const std::string base = artifact.substr(artifact.rfind('/') + 1);
  if (base.empty() || base == "." || base == ".." || base != ForTerminal(base)) {
    return absl::InvalidArgumentError("the name of this file is no file name here; choose one with -O");
  }
  return base;
}

bool Exists(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0;
}

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

absl::Status ToFile(const Context& context, const std::string& job_id, const v1::Artifact& artifact,
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

absl::Status ToStdout(const Context& context, const std::string& job_id, const v1::Artifact& artifact) {
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

}  // namespace

int Download(const Context& context, const DownloadOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, options.job);
  if (!job.ok()) return console.Fail(job.status());
  const absl::StatusOr<v1::Artifact> artifact =
      FindArtifact(context, *job, options.name.empty() ? std::string(kModel) : options.name, options.wait);
  if (!artifact.ok()) return console.Fail(artifact.status());
  if (options.file == "-") {
    const absl::Status written = ToStdout(context, job->id(), *artifact);
    return written.ok() ? kExitOk : console.Fail(written);
  }
  absl::StatusOr<std::string> file = options.file;
  if (options.file.empty()) file = LocalName(artifact->name());
  if (!file.ok()) return console.Fail(file.status());
  if (Exists(*file) && !options.force) {
    return console.Fail(absl::AlreadyExistsError(
        absl::StrCat(ForTerminal(*file), " is already there; replace it with --force, or choose another with -O")));
  }
  const absl::Status written = ToFile(context, job->id(), *artifact, *file);
  if (!written.ok()) return console.Fail(written);
  if (IsStructured(context.format)) {
    PrintJson(console, context.format, ToJson(*artifact));
  } else {
    console.out.Write(context.format == OutputFormat::kName
                          ? *file + "\n"
                          : absl::StrCat(ForTerminal(*file), "  ", SizeText(artifact->size_bytes()), "  sha256 ",
                                         artifact->sha256(), "\n"));
  }
  return kExitOk;
}

}  // namespace mantissa::cli
