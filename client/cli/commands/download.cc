#include "client/cli/commands/download.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "client/cli/commands/pages.h"
#include "client/cli/download/fetch_artifact.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/whole_file.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr std::string_view kModel = "model.safetensors";
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

}  // namespace

int Download(const Context& context, const DownloadOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, options.job);
  if (!job.ok()) return console.Fail(job.status());
  const absl::StatusOr<v1::Artifact> artifact =
      FindArtifact(context, *job, options.name.empty() ? std::string(kModel) : options.name, options.wait);
  if (!artifact.ok()) return console.Fail(artifact.status());
  if (options.file == "-") {
    const absl::Status written = FetchToStdout(context, job->id(), *artifact);
    return written.ok() ? kExitOk : console.Fail(written);
  }
  absl::StatusOr<std::string> file = options.file;
  if (options.file.empty()) file = LocalName(artifact->name());
  if (!file.ok()) return console.Fail(file.status());
  if (const absl::Status may = MayReplace(*file, options.force, "-O"); !may.ok()) return console.Fail(may);
  const absl::Status written = FetchToFile(context, job->id(), *artifact, *file);
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
