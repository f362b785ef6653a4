#include "client/cli/commands/bundle.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>
#include <sys/stat.h>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "client/cli/commands/pages.h"
#include "client/cli/download/fetch_artifact.h"
#include "client/cli/job_reference.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/number_text.h"

namespace mantissa::cli {
namespace {

using v1::JobService;

constexpr std::chrono::milliseconds kLookAgain{200};
constexpr std::string_view kPrefix = "bundle-";
// The manifest names the others, so it comes last.
constexpr std::array<std::string_view, 5> kFiles = {"model.safetensors", "optimizer.safetensors", "batch.safetensors",
                                                    "BUNDLE.json", "MANIFEST.json"};

// Files by name, of one attempt.
using Files = std::map<std::string, v1::Artifact>;

// By the part of the name that says the attempt: `0001`. Attempts that are still handing theirs in are left out.
absl::StatusOr<std::map<std::string, Files>> WholeBundles(const Context& context, const std::string& job_id) {
  v1::ListArtifactsRequest request;
  request.set_job_id(job_id);
  request.set_page_size(1000);
  std::map<std::string, Files> bundles;
  const absl::Status asked =
      ForEachPage(context.connection, context.connection.jobs(), &JobService::Stub::ListArtifacts, request,
                  [&](const v1::ListArtifactsResponse& response) {
                    for (const v1::Artifact& artifact : response.artifacts()) {
                      const std::size_t slash = artifact.name().find('/');
                      if (!artifact.name().starts_with(kPrefix) || slash == std::string::npos) continue;
                      const std::string attempt = artifact.name().substr(kPrefix.size(), slash - kPrefix.size());
                      bundles[attempt][artifact.name().substr(slash + 1)] = artifact;
                    }
                    return true;
                  });
  if (!asked.ok()) return asked;
  std::erase_if(bundles, [](const auto& bundle) {
    return !std::all_of(kFiles.begin(), kFiles.end(),
                        [&](std::string_view name) { return bundle.second.contains(std::string(name)); });
  });
  return bundles;
}

// Why there is none, and whether one may still come.
struct Absence {
  absl::Status why;
  bool may_come = false;
};

Absence AbsenceOf(const v1::Job& job) {
  const v1::CheckpointSpec& checkpoint = job.resolved_spec().training().checkpoint();
  if (checkpoint.bundle() == v1::CheckpointSpec::NEVER) {
    return {absl::FailedPreconditionError("this job keeps none: its spec says training.checkpoint.bundle: NEVER")};
  }
  const bool numeric = job.reason() == v1::Reason::NUMERIC_FAILURE || job.reason() == v1::Reason::SCALE_AT_MINIMUM;
  if ((job.state() == v1::Job::FAILED && numeric) || job.has_lineage() ||
      checkpoint.bundle() == v1::CheckpointSpec::FIRST_SKIP) {
    return {absl::NotFoundError("its worker has not handed in the iteration it kept; try again in a moment"), true};
  }
  return {absl::NotFoundError(absl::StrCat(
      "there is nothing to replay: no attempt of this job (it is ", v1::Job::State_Name(job.state()),
      ") was ended by skipped iterations. training.checkpoint.bundle: FIRST_SKIP keeps the first one that is news"))};
}

absl::StatusOr<Files> FindBundle(const Context& context, const v1::Job& job, const BundleOptions& options) {
  const std::string wanted = options.attempt > 0 ? absl::StrFormat("%04d", options.attempt) : "";
  const process::SteadyTime give_up = context.console.clock.Now() + options.wait;
  bool said = false;
  while (true) {
    auto bundles = WholeBundles(context, job.id());
    if (!bundles.ok()) return bundles.status();
    if (wanted.empty() && !bundles->empty()) return std::move(bundles->rbegin()->second);
    if (const auto found = bundles->find(wanted); found != bundles->end()) return std::move(found->second);
    const Absence absence = AbsenceOf(job);
    if (!wanted.empty() && !bundles->empty()) {
      return absl::NotFoundError(
          absl::StrCat("attempt ", options.attempt, " kept no iteration; attempt ", bundles->rbegin()->first, " did"));
    }
    if (!absence.may_come || context.console.clock.Now() >= give_up) return absence.why;
    if (!std::exchange(said, true)) context.console.Note("waiting for the worker to hand in what it kept");
    std::this_thread::sleep_for(kLookAgain);
  }
}

absl::Status MakeFolder(const std::string& folder, bool force) {
  if (::mkdir(folder.c_str(), 0777) == 0) return absl::OkStatus();
  if (errno == EEXIST && force) return absl::OkStatus();
  if (errno == EEXIST) {
    return absl::AlreadyExistsError(
        absl::StrCat(ForTerminal(folder), " is already there; write into it with --force, or choose another with -O"));
  }
  return absl::UnavailableError(absl::StrCat(ForTerminal(folder), " can't be made: ", std::strerror(errno)));
}

}  // namespace

int Bundle(const Context& context, const BundleOptions& options) {
  const Console& console = context.console;
  const absl::StatusOr<v1::Job> job = FindJob(context.connection, options.job);
  if (!job.ok()) return console.Fail(job.status());
  const absl::StatusOr<Files> files = FindBundle(context, *job, options);
  if (!files.ok()) return console.Fail(files.status());
  // A job's name is a plain file name.
  const std::string folder = options.folder.empty() ? job->name() + "-bundle" : options.folder;
  if (absl::Status made = MakeFolder(folder, options.force); !made.ok()) return console.Fail(made);
  std::int64_t bytes = 0;
  for (const std::string_view name : kFiles) {
    const v1::Artifact& artifact = files->at(std::string(name));
    const absl::Status fetched =
        FetchToFile(context, job->id(), artifact, absl::StrCat(folder, "/", std::string(name)));
    if (!fetched.ok()) return console.Fail(fetched);
    bytes += artifact.size_bytes();
  }
  const std::string replay = absl::StrCat("mantissa-trainer --replay ", folder);
  if (IsStructured(context.format)) {
    const nlohmann::ordered_json json = {{"folder", folder}, {"size_bytes", bytes}, {"replay", replay}};
    PrintJson(console, context.format, json.dump(2) + "\n");
    return kExitOk;
  }
  if (context.format == OutputFormat::kName) {
    console.out.Write(folder + "\n");
    return kExitOk;
  }
  console.Note(absl::StrCat(ForTerminal(folder), " holds the iteration, ", SizeText(bytes), "; replay it with"));
  console.out.Write(ForTerminal(replay) + "\n");
  return kExitOk;
}

}  // namespace mantissa::cli
